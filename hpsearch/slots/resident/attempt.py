"""One attempt at a trial in the process of its rank, which runs other trials before and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from hpsearch.paths import log_path
from hpsearch.slots.diagnosis import failure_of, has_returned
from hpsearch.slots.not_begun import could_not_begin
from hpsearch.slots.protocol import Assignment, Failed
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.slots.replies import Reply
from hpsearch.slots.reporter import Reporter, reset_peaks
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import TrialLog
from hpsearch.training.output import log_exception
from hpsearch.training.stepper import make_stepper


@final
class ResidentAttempt:
    """Runs one attempt in this process, epoch by epoch.

    Args:
        assignment: The attempt.
        function: The trainable.
        settings: Settings of the sweep.
        position: This rank among those of the trial.
        ranks_here: Number of ranks, of all trials together, that fit on this node.
        in_ray_session: Whether the trainable uses Ray Tune's session.

    Raises:
        LinkRefused: The folder of the trial, or of its checkpoints, is a link.
        OSError: The log of the trial can't be written.
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
        self._reporter = Reporter(
            assignment, settings=settings, position=position, ranks_here=ranks_here, in_ray_session=in_ray_session
        )
        self._log = TrialLog(log_path(Path(settings.sweep_dir), assignment.number))
        self._stepper = make_stepper(function, dict(assignment.config), self._reporter.context)
        self.has_ended = False
        """Whether the trainable has ended, by itself or by a failure."""
        self.reported_again = False
        """Whether it reported again after its last epoch."""
        reset_peaks()

    def advance(self, *, save: bool) -> Reply:
        """Train one epoch; an exception of the user's code becomes a reply with a failure."""
        with self._running():
            try:
                metrics = self._stepper.advance()
            except BaseException as error:
                self.has_ended = True
                if has_returned(error):
                    return self._reporter.ended()
                log_exception()
                return self._reporter.failed(error) if self.has_called else Reply(failure=self.failure_of(error))
            if metrics is not None:
                return self._reporter.epoch(metrics, save=save)
            self.has_ended = True
            return self._reporter.ended()

    @property
    def has_called(self) -> bool:
        """Whether the trainable has been called."""
        return self._stepper.has_called

    def failure_of(self, error: Exception | BaseException) -> Failed:
        """The failure for an exception; before the call of the trainable it is no failure of the trainable's."""
        return failure_of(error) if self.has_called else could_not_begin(error, during="start of the trainable")

    def run_to_end(self) -> str | None:
        """Run the code after the last epoch, up to the next report if there is one.

        Returns:
            One sentence on what it raised, or None.
        """
        self._reporter.context.is_over = True
        with self._running():
            try:
                if not self.has_ended:
                    self.reported_again = self._stepper.advance() is not None
            except BaseException as error:
                if has_returned(error):
                    return None
                log_exception()
                failure = self._reporter.failed(error).failure
                return None if failure is None else failure.evidence
        return None

    def close(self, *, save: bool) -> bool:
        """Stop the trainable, after a checkpoint if `save`; returns False if it still runs."""
        closed = True
        with self._running():
            try:
                if save:
                    self._reporter.save()
                closed = self._stepper.close()
            except BaseException:  # a `finally` block of the user's failed: the trial has ended all the same
                log_exception()
        self._log.close()
        return closed

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Within the block, output goes to the log, and `current_trial` is this attempt."""
        with self._log.capture(), self._reporter.active():
            yield
