"""One trial while its sweep runs: what the engine knows of it. The ledger has the same."""

from __future__ import annotations

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
    """What the engine knows of one trial; the ledger has the same."""

    number: int
    point: Point
    ledger_id: int
    state: TrialState = "running"
    attempts: int = 1
    epochs: int = 0
    losses: dict[int, float] = field(default_factory=dict)
    best_epoch: int | None = None
    failure_sites: set[str] = field(default_factory=set)
    past_s: float = 0.0
    elapsed_s: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    peaks: Peaks = field(default_factory=Peaks)
    checkpoint_epoch: int | None = None
    is_final: bool = False
    reported_to_searcher: bool = False
    fingerprint: str | None = None
    code: str | None = None
    reused_from: str | None = None
    ran_in_slot: bool = False
    failures: int = 0
    cause: Cause | None = None
    evidence: str | None = None
    slot: int | None = None

    @property
    def duration_s(self) -> float:
        """Seconds of training, all attempts."""
        return self.past_s + self.elapsed_s

    @property
    def outcome(self) -> Outcome | None:
        """What a searcher can learn from it as it stands, a paused trial being stopped; None for nothing."""
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

    @classmethod
    def from_record(cls, record: TrialRecord) -> Trial:
        """A trial as the ledger has it, without its reports."""
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
        """One more epoch; `loss` is lower when better."""
        self.epochs, self.metrics = epoch, metrics
        self.losses[epoch] = loss
        if self.best_epoch is None or loss < self.losses[self.best_epoch]:
            self.best_epoch = epoch

    def fold_time(self) -> None:
        """The attempt is over: its seconds count among those of earlier ones."""
        self.past_s, self.elapsed_s = self.duration_s, 0.0

    def note_peaks(self, peaks: Peaks) -> None:
        """Memory of an attempt; the most of all attempts counts."""
        self.peaks = Peaks(
            gpu_gib=_most(self.peaks.gpu_gib, peaks.gpu_gib), host_gib=_most(self.peaks.host_gib, peaks.host_gib)
        )


def _most(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)
