"""How a rank runs all trials in its own process, for trainables whose set-up takes longer than a trial.

What a trial changes in the process is restored where that is safe; where it is not, the process is replaced.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast, final

from hpsearch.slots.process_file import Process
from hpsearch.slots.process_tree import reap
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition, Rendezvous, rank_variables
from hpsearch.slots.ray_tune_session import uses_ray_tune
from hpsearch.slots.replies import LOOP_TOO_LONG, CleanupResult, Reply
from hpsearch.slots.resident.attempt import ResidentAttempt
from hpsearch.slots.resident.state.process_state import ProcessState
from hpsearch.slots.settings import SlotSettings

LEAK_BYTES = 64 * 2**20
"""Bytes of tensors that a trial may leave behind without any consequence."""
LEAKS_IN_A_ROW = 3
"""A rank is replaced after this many trials in a row that each left more bytes behind: a cache stops growing."""


@final
class ResidentTrials:
    """Runs the attempts of one rank, one after another, in this process.

    Args:
        settings: Settings of the sweep.
        working_dir: Working directory of the user's code on this node.
        position: This rank among those of its slot.
        ranks_here: Number of ranks, of all trials together, that fit on this node.
    """

    def __init__(self, settings: SlotSettings, *, working_dir: str, position: RankPosition, ranks_here: int) -> None:
        self._settings, self._working_dir = settings, working_dir
        self._position, self._ranks_here = position, ranks_here
        self._function: Callable[..., Any] | None = None
        self._in_ray_session = self._loop_is_too_long = False
        self._attempt: ResidentAttempt | None = None
        self._leftover_bytes: list[int] = []
        """Bytes of tensors that the last trials have left behind."""
        self._clean_state: ProcessState | None = None
        os.environ["CUDA_VISIBLE_DEVICES"] = position.gpus if settings.request.gpu else ""

    def load(self) -> str | None:
        """Import the trainable; returns what is wrong with it, or None."""
        import cloudpickle
        import torch._dynamo  # noqa: F401  # the first optimizer imports it; what is imported later is not frozen below

        from hpsearch.slots import lightning
        from hpsearch.slots.user_function import import_failure, load_trainable, set_torch_threads
        from hpsearch.trainable import code_finder
        from hpsearch.trainable.code_snapshot import child_environment

        settings = self._settings
        lightning.install()
        if settings.code_dir is not None:
            roots = {"old_root": settings.working_dir, "new_root": self._working_dir}
            code_finder.install(settings.code_dir, **roots)
            os.environ.update(child_environment(settings.code_dir, os.environ, **roots))
        set_torch_threads(settings)
        try:
            found = cloudpickle.loads(settings.trainable)
            self._function = load_trainable(found, settings=settings, working_dir=self._working_dir)
        except BaseException as error:  # SystemExit too: a module may call sys.exit on import
            return import_failure(error)
        self._in_ray_session = uses_ray_tune(self._function)
        self._clean_state = ProcessState(self._function)
        gc.collect()
        gc.freeze()  # these objects stay: collections between trials skip them and take 1 ms instead of 80
        return None

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> Process:
        """Begin an attempt; returns this process. Raises OSError where the log of the trial can't be written."""
        os.environ.update(rank_variables(self._position, rendezvous))
        self._attempt = ResidentAttempt(
            assignment,
            cast("Callable[..., Any]", self._function),
            settings=self._settings,
            position=self._position,
            ranks_here=self._ranks_here,
            in_ray_session=self._in_ray_session,
        )
        return Process.of(os.getpid())

    def step(self, *, save: bool) -> Reply:
        """Train one epoch."""
        assert self._attempt is not None
        try:
            return self._attempt.advance(save=save)
        except Exception as error:  # for example the disk of the log is full: one trial fails, not the slot
            return Reply(failure=self._attempt.failure_of(error))

    def end(self) -> None:
        """Do nothing: the slot kills this process, which is busy with the attempt."""

    def finish(self, *, save: bool, run_to_end: bool) -> CleanupResult:
        """End the attempt, if there is one, and restore the state of the process.

        Args:
            save: Whether to write a checkpoint first.
            run_to_end: Whether the code after the last epoch still runs; otherwise the trainable is stopped.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return CleanupResult(reusable=True)
        run_to_end = run_to_end and self._settings.grace_s > 0 and not self._loop_is_too_long
        raised = attempt.run_to_end() if run_to_end else None
        self._loop_is_too_long |= attempt.reported_again
        closed = attempt.close(save=save)
        notes = [] if raised is None else [f"after its last epoch: {raised}"]
        notes += [LOOP_TOO_LONG] if attempt.reported_again else []
        notes += [] if closed else ["the trainable did not stop when asked to and still runs"]
        del attempt
        leftovers: tuple[str, ...] = ()
        if self._clean_state is not None:
            self._clean_state.restore()
        _leave_process_group()
        notes += self._collect_garbage()
        if self._clean_state is not None:
            leftovers = self._clean_state.find_leftovers()
        reap()
        return CleanupResult(reusable=closed and not leftovers and not self._leaks(), notes=(*notes, *leftovers))

    def _collect_garbage(self) -> list[str]:
        """Collect garbage and empty the GPU's cache; returns a note if the trial has left large tensors behind."""
        import torch

        from hpsearch.training.leaks.live_tensors import describe, find_holder, live_tensors, size_of

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        leftovers = live_tensors()
        size = size_of(leftovers)
        self._leftover_bytes = [*self._leftover_bytes[-LEAKS_IN_A_ROW:], size]
        if size <= LEAK_BYTES:
            return []
        largest = max(leftovers, key=lambda tensor: tensor.nbytes)
        return [
            f"{len(leftovers)} tensors of {size / 2**20:.0f} MiB are still alive after the trial;"
            f" the largest, {describe(largest)}, is kept in {find_holder(largest) or 'an object without a name'}"
        ]

    def _leaks(self) -> bool:
        """Whether the tensors left behind have grown with each of the last trials."""
        sizes = self._leftover_bytes
        grew = all(later > earlier for earlier, later in pairwise(sizes))
        return len(sizes) > LEAKS_IN_A_ROW and grew and sizes[-1] > LEAK_BYTES


def _leave_process_group() -> None:
    """Destroy the process group: after a failure its state is unknown, so each attempt makes a new one."""
    from hpsearch.training.parallel import leave

    leave()
