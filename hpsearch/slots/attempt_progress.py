"""What a slot records of the attempt that it runs: time, checkpoints, memory, and lines in the trial's log.

The slot sums up here what the replies of all ranks say. What one rank knows of the same attempt is in `reporter.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from math import isclose
from pathlib import Path
from typing import Any, final

from hpsearch.paths import log_path, processes_path
from hpsearch.slots.protocol import Assignment, Event, Failed, Peaks, Unusable
from hpsearch.slots.replies import Reply
from hpsearch.slots.trial_log import log_size, log_tail, open_log

SAVE_INTERVAL_FACTOR = 20
"""A checkpoint that no assignment asks for is written when this many times the duration of the last write has passed,
so that such checkpoints take at most a twentieth of the time."""


@final
class AttemptProgress:
    """The progress of one attempt over all ranks, from which the slot completes the attempt's events.

    Args:
        assignment: The attempt.
        sweep_dir: The folder of the sweep.
        has_setup: Whether the attempt has a new process, whose first epoch includes imports and other set-up.
    """

    def __init__(self, assignment: Assignment, sweep_dir: Path, *, has_setup: bool = True) -> None:
        self._has_setup = has_setup
        self.assignment = assignment
        """The attempt."""
        self.processes_path = processes_path(sweep_dir, assignment.number)
        """Where the processes of the attempt are on record while they train."""
        self.log_path = log_path(sweep_dir, assignment.number)
        """The log of the trial."""
        self.is_new = True
        """Whether the ranks have not begun the attempt yet."""
        self.elapsed_s = 0.0
        """Seconds of training so far."""
        self._checkpoint_epoch: int | None = None
        self._peaks = Peaks()
        self._step_seconds: list[float] = []
        self._ranks_agree = True
        self._outside_code: dict[str, str] = {}
        self._saved_at, self._save_s = time.monotonic(), 0.0
        self._log_start = log_size(self.log_path)

    def add_time(self, seconds: float) -> None:
        """Count the seconds that an epoch has taken, or a step that ended without one."""
        self.elapsed_s += seconds
        self._step_seconds.append(seconds)

    @property
    def _setup_s(self) -> float | None:
        """Seconds by which the first epoch was longer than the mean of the others; None where that is not known."""
        first, later = self._step_seconds[:1], self._step_seconds[1:]
        return max(first[0] - sum(later) / len(later), 0.0) if later and self._has_setup else None

    @property
    def is_save_due(self) -> bool:
        """Whether it is time for a checkpoint that the assignment does not ask for."""
        return time.monotonic() - self._saved_at >= SAVE_INTERVAL_FACTOR * self._save_s

    @property
    def time_left_s(self) -> float | None:
        """Seconds of training left to the trial, at least 0; None without a limit."""
        limit = self.assignment.time_left_s
        return None if limit is None else max(limit - self.elapsed_s, 0.0)

    def update(self, replies: Sequence[Reply]) -> None:
        """Record what all ranks replied to one step."""
        newest = min(reply.checkpoint_epoch or 0 for reply in replies) or None
        if newest != self._checkpoint_epoch:
            self._checkpoint_epoch, self._saved_at = newest, time.monotonic()
            self._save_s = max(reply.save_s for reply in replies)
        gpus = [reply.gpu_gib for reply in replies if reply.gpu_gib is not None]
        hosts = [reply.host_gib for reply in replies if reply.host_gib is not None]
        for reply in replies:
            self._outside_code |= reply.outside_code
        self._peaks = Peaks(gpu_gib=max(gpus, default=None), host_gib=sum(hosts) if hosts else None)

    def check_ranks_agree(self, replies: Sequence[Reply], *, objective: str) -> None:
        """Log once if another rank reports another value of the objective than rank 0, whose value counts."""
        values = [reply.metrics[objective] for reply in replies if reply.metrics is not None]
        other = next((rank for rank, value in enumerate(values) if not isclose(value, values[0], rel_tol=1e-5)), None)
        if self._ranks_agree and other is not None:
            self._ranks_agree = False
            self.log(
                f"rank {other} reported {objective} {values[other]:.6g} for epoch {replies[0].epoch}, rank 0"
                f" {values[0]:.6g}: the value of rank 0 counts"
            )

    def with_facts(self, event: Event) -> Event:
        """The event with its time, memory and checkpoint filled in."""
        if isinstance(event, Unusable):
            return event
        facts: dict[str, Any] = {"elapsed_s": self.elapsed_s, "peaks": self._peaks}
        if not isinstance(event, Failed):
            facts |= {
                "checkpoint_epoch": self._checkpoint_epoch,
                "setup_s": self._setup_s,
                "outside_code": dict(self._outside_code),
            }
        return type(event)(**{**vars(event), **facts})

    def log_tail(self) -> str:
        """The end of what this attempt has printed; earlier attempts have written to the same log."""
        return log_tail(self.log_path, start=self._log_start)

    def log(self, text: str) -> None:
        """Write a line of hpsearch to the trial's log; where that is not possible the trial continues without it."""
        with suppress(OSError), open_log(self.log_path) as file:
            print(f"hpsearch: {text}", file=file)
