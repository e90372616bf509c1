"""One attempt at one trial as its slot keeps account of it: time, checkpoints, memory, and lines in the trial's log."""

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

SAVE_SHARE = 20
"""A checkpoint that nobody asked for is written when training took at least this many times as long as the last one."""


@final
class AttemptProgress:
    """Knows no process."""

    def __init__(self, assignment: Assignment, sweep_dir: Path, *, has_setup: bool = True) -> None:
        """Nothing was trained yet.

        Args:
            assignment: The attempt.
            sweep_dir: The folder of the sweep's files.
            has_setup: Whether its process is new.
        """
        self._has_setup = has_setup
        self.assignment = assignment
        self.processes_path = processes_path(sweep_dir, assignment.number)
        """Where the processes of the attempt are on record while they train."""
        self._log_path = log_path(sweep_dir, assignment.number)
        self.is_fresh = True
        """Whether the ranks have yet to hear of it."""
        self.elapsed_s = 0.0
        """Seconds of training so far."""
        self._checkpoint_epoch: int | None = None
        self._peaks = Peaks()
        self._rounds: list[float] = []
        self._ranks_agree = True
        self._outside_code: dict[str, str] = {}
        self._saved_at, self._save_s = time.monotonic(), 0.0
        self._log_start = log_size(self._log_path)

    def note_time(self, seconds: float) -> None:
        """An epoch, or what ended in place of one, took so long."""
        self.elapsed_s += seconds
        self._rounds.append(seconds)

    @property
    def _setup_s(self) -> float | None:
        """The last round is no whole epoch where the trainable has ended."""
        first, later = self._rounds[:1], self._rounds[1:]
        return max(first[0] - sum(later) / len(later), 0.0) if later and self._has_setup else None

    @property
    def is_to_save(self) -> bool:
        """Whether it is time for a checkpoint that nobody asked for."""
        return time.monotonic() - self._saved_at >= SAVE_SHARE * self._save_s

    @property
    def time_left_s(self) -> float | None:
        """Seconds of training left to the trial; None without a limit."""
        limit = self.assignment.time_left_s
        return None if limit is None else max(limit - self.elapsed_s, 0.0)

    def take_note(self, replies: Sequence[Reply]) -> None:
        """What all ranks answered to one step."""
        newest = min(reply.checkpoint_epoch or 0 for reply in replies) or None
        if newest != self._checkpoint_epoch:
            self._checkpoint_epoch, self._saved_at = newest, time.monotonic()
            self._save_s = max(reply.save_s for reply in replies)
        gpus = [reply.gpu_gib for reply in replies if reply.gpu_gib is not None]
        hosts = [reply.host_gib for reply in replies if reply.host_gib is not None]
        for reply in replies:
            self._outside_code |= reply.outside_code
        self._peaks = Peaks(gpu_gib=max(gpus, default=None), host_gib=sum(hosts) if hosts else None)

    def compare(self, replies: Sequence[Reply], *, objective: str) -> None:
        """Say once, in the log, that another rank's objective is not rank 0's, which counts."""
        values = [reply.metrics[objective] for reply in replies if reply.metrics is not None]
        other = next((rank for rank, value in enumerate(values) if not isclose(value, values[0], rel_tol=1e-5)), None)
        if self._ranks_agree and other is not None:
            self._ranks_agree = False
            self.say(
                f"rank {other} reported {objective} {values[other]:.6g} for epoch {replies[0].epoch}, rank 0"
                f" {values[0]:.6g}: what rank 0 reports counts"
            )

    def with_facts(self, event: Event) -> Event:
        """The event, with the time, the memory and the checkpoint that it tells of."""
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
        """The end of what this attempt has printed."""
        return log_tail(self._log_path, start=self._log_start)

    def say(self, text: str) -> None:
        """A line of ours in the trial's log."""
        with suppress(OSError):  # a note that can't be written is no reason to lose the trial
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            with open_log(self._log_path) as file:
                print(f"hpsearch: {text}", file=file)
