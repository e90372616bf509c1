"""One trial while its sweep runs: what the engine keeps of it in memory. The ledger holds the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpsearch.errors import CAUSE_CLASSES, Cause
from hpsearch.ledger.records import COMPLETE_STATES, HALTED_STATES, TrialRecord, TrialState
from hpsearch.search.searcher import Outcome
from hpsearch.slots.protocol import Peaks
from hpsearch.space.space import Point


@dataclass(kw_only=True)
class Trial:
    """One configuration of a running sweep, with its progress over all of its attempts."""

    number: int
    """Counted from 1 within the sweep."""
    point: Point
    """The configuration, with flat parameter names."""
    ledger_id: int
    """Key of the trial in the ledger; 0 until it is written there."""
    state: TrialState = "running"
    """The same state as in the ledger."""
    attempts: int = 1
    """Attempts so far, the running one included."""
    epochs: int = 0
    """Epochs that have been reported."""
    losses: dict[int, float] = field(default_factory=dict)
    """Epoch to the objective at that epoch, with its sign changed where it is maximized: lower is better."""
    best_epoch: int | None = None
    """Epoch of the lowest loss; None before the first report."""
    failure_sites: set[str] = field(default_factory=set)
    """Exceptions that have ended an attempt, each with its file and line: the same one is not retried again."""
    past_s: float = 0.0
    """Seconds of training in attempts that have ended."""
    elapsed_s: float = 0.0
    """Seconds of training in the running attempt."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All metrics of the last report."""
    peaks: Peaks = field(default_factory=Peaks)
    """Peak memory, the maximum over all attempts."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint on disk; None without one."""
    is_final: bool = False
    """Whether it was finished by an earlier run and no epoch is left: it ended by itself, or at the present limit."""
    reported_to_searcher: bool = False
    """Whether the searcher has an outcome of this trial."""
    fingerprint: str | None = None
    """Hash of all that decides the trial's epochs, by which equal trials are found; None if none can be equal."""
    code: str | None = None
    """First digits of the hashes of the code that trained its epochs, separated by commas; None if unknown."""
    reused_from: str | None = None
    """The trial whose epochs or checkpoint were reused, as sweep and number; None for none."""
    ran_in_slot: bool = False
    """Whether an attempt has run in a slot; a trial whose epochs all come from the ledger has not."""
    machine_failures: int = 0
    """Failures of the machine that were followed by another attempt."""
    failures: int = 0
    """All other failures that were followed by another attempt; they count against `limits.retries`."""
    begin_failures: int = 0
    """Attempts that failed before the first line of the user's code; they count against no limit of retries."""
    cause: Cause | None = None
    """Cause of failure of a failed trial."""
    evidence: str | None = None
    """One sentence on why it failed, or waits for another attempt."""
    slot: int | None = None
    """Number of the slot that ran it last, counted from 1."""

    @property
    def duration_s(self) -> float:
        """Seconds of training over all attempts."""
        return self.past_s + self.elapsed_s

    @property
    def best_loss(self) -> float:
        """Lowest loss so far, lower is better whatever the goal; infinity before the first report."""
        return math.inf if self.best_epoch is None else self.losses[self.best_epoch]

    @property
    def outcome(self) -> Outcome | None:
        """What a searcher can learn from the trial in its present state; None for nothing.

        A paused trial counts as stopped. A failure of the machine says nothing about the configuration.
        """
        state: Literal["done", "stopped", "infeasible"]
        if self.state in COMPLETE_STATES:
            state = "done"
        elif self.state in HALTED_STATES:
            state = "stopped"
        elif self.state == "failed" and self.cause is not None and CAUSE_CLASSES[self.cause] != "infra":
            state = "infeasible"
        else:
            return None
        return Outcome(number=self.number, point=self.point, state=state, losses=dict(self.losses), cause=self.cause)

    def outcome_after(self, epoch: int) -> Outcome:
        """What a searcher learned when the trial was paused after this epoch, although it has continued since."""
        losses = {each: loss for each, loss in self.losses.items() if each <= epoch}
        return Outcome(number=self.number, point=self.point, state="stopped", losses=losses)

    @classmethod
    def from_record(cls, record: TrialRecord) -> Trial:
        """The trial as the ledger has it, without its reports."""
        return cls(
            number=record.number,
            point=dict(record.point),
            ledger_id=record.id,
            state=record.state,
            attempts=record.attempts,
            past_s=record.duration_s or 0.0,
            peaks=Peaks(gpu_gib=record.gpu_peak_gib, host_gib=record.host_peak_gib),
            checkpoint_epoch=record.checkpoint_epoch,
            cause=record.cause,
            evidence=record.evidence,
            fingerprint=record.fingerprint,
            code=", ".join(record.codes) or None,
            reused_from=record.reused_from,
            ran_in_slot=record.attempts > 0,
        )

    def note_epoch(self, epoch: int, metrics: Mapping[str, float], *, loss: float) -> None:
        """Record a finished epoch; a lower `loss` is better."""
        self.epochs, self.metrics = epoch, metrics
        self.losses[epoch] = loss
        if self.best_epoch is None or loss < self.losses[self.best_epoch]:
            self.best_epoch = epoch

    def fold_time(self) -> None:
        """End the attempt: its seconds now count among those of earlier attempts."""
        self.past_s, self.elapsed_s = self.duration_s, 0.0

    def note_peaks(self, peaks: Peaks) -> None:
        """Record the memory of an attempt; the maximum over all attempts counts."""
        self.peaks = Peaks(
            gpu_gib=_most(self.peaks.gpu_gib, peaks.gpu_gib), host_gib=_most(self.peaks.host_gib, peaks.host_gib)
        )


def _most(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)
