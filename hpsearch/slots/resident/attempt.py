"""One attempt at one trial in a slot's own process, which trains other trials before and after it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from hpsearch.paths import log_path
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.slots.replies import Reply
from hpsearch.slots.reporter import Reporter, reset_peaks
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import TrialLog
from hpsearch.training.stepper import make_stepper


@final
class ResidentAttempt:
    """One attempt at one trial in this process.

    Args:
        assignment: The attempt.
        function: The trainable.
        settings: Of the sweep.
        place: This rank among those of the trial.
        ranks_here: Ranks, of all trials together, that fit on this machine.
        in_ray_session: Whether the trainable speaks to Ray Tune's session.
    """

    def __init__(
        self,
        assignment: Assignment,
        function: Callable[..., Any],
        *,
        settings: SlotSettings,
        position: RankPosition,
        ranks_here: int,
        in_ray_session: bool,
    ) -> None:
        log = log_path(Path(settings.sweep_dir), assignment.number)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = TrialLog(log)
        self._progress = Reporter(
            assignment, settings=settings, position=position, ranks_here=ranks_here, in_ray_session=in_ray_session
        )
        self._stepper = make_stepper(function, dict(assignment.config), self._progress.context)
        self.has_ended = self.reported_again = False
        """Whether the trainable is over, by itself or by a failure; whether it gave a row after its last epoch."""
        reset_peaks()

    def advance(self, *, save: bool) -> Reply:
        """Train one epoch; whatever the user's code raises comes back as data."""
        with self._running():
            try:
                row = self._stepper.advance()
            except BaseException as error:
                self.has_ended = True
                if isinstance(error, SystemExit) and not error.code:
                    return self._progress.ended()
                traceback.print_exc()
                return self._progress.failed(error)
            if row is not None:
                return self._progress.epoch(row, save=save)
            self.has_ended = True
            return self._progress.ended()

    def run_to_end(self) -> str | None:
        """Let the trainable run what comes after its last epoch; what it raised there, in words, or None.

        At one more row it is stopped.
        """
        self._progress.context.is_over = True
        with self._running():
            try:
                if not self.has_ended:
                    self.reported_again = self._stepper.advance() is not None
            except BaseException as error:
                if isinstance(error, SystemExit) and not error.code:
                    return None
                traceback.print_exc()
                failure = self._progress.failed(error).failure
                return None if failure is None else failure.evidence
        return None

    def close(self, *, save: bool) -> bool:
        """Whether the trainable is really over."""
        closed = True
        with self._running():
            try:
                if save:
                    self._progress.save()
                closed = self._stepper.close()
            except BaseException:  # a `finally` of the user's that fails: the trial is over all the same
                traceback.print_exc()
        self._log.close()
        return closed

    @contextmanager
    def _running(self) -> Iterator[None]:
        """What is printed goes to the log, and the user's code finds this attempt."""
        with self._log.capture(), self._progress.active():
            yield
