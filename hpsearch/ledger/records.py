"""What the ledger gives back: one frozen record for each row, plain values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from hpsearch.errors import Cause, is_config_fault

TrialState = Literal["queued", "running", "paused", "done", "stopped", "failed", "interrupted", "reused"]
SweepState = Literal["running", "done", "gave_up", "interrupted"]
ACTIVE_STATES = ("queued", "running")
"""Trials that a process trains, or is about to train, if that process is alive."""
FINISHED_STATES = ("done", "stopped", "failed", "reused")
"""Trials that will not be trained further unless the sweep is given more epochs."""
UNFINISHED_STATES = (*ACTIVE_STATES, "paused")
"""Trials that may report more epochs if the sweep's process is alive."""
INTERRUPTED_STATES = (*ACTIVE_STATES, "interrupted")
"""Trials that a sweep without a process left in the middle: they are tried again when it resumes."""
SUCCESS_STATES = ("done", "stopped", "reused")
"""Trials that count as a result."""
COMPLETE_STATES = ("done", "reused")
"""Successful trials that no stopping rule ended early."""
HALTED_STATES = ("stopped", "paused")
"""Trials that a stopping rule ended early, or that wait at a rung for it to continue them."""
TRAINABLE_STATES = (*SUCCESS_STATES, "paused")
"""Trials that prove that the trainable works: they succeeded, or wait at a rung."""
REUSABLE_STATES = (*TRAINABLE_STATES, "interrupted")
"""Trials whose epochs count in other sweeps; one that failed may have failed for another reason than its point."""
ENDED_SWEEP_STATES = ("done", "gave_up")
"""Sweeps that ended by themselves: all trials are finished, or too many failed."""
CODE_DIGITS = 12
"""Of a code's hash, where people see it."""


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """One sweep."""

    id: int
    """Key of the row."""
    name: str
    """Unique in the ledger."""
    state: SweepState
    """`running` also for a sweep whose process was killed."""
    reason: str | None
    """Why it ended early, and what failed on the way without ending it, in sentences; None where all went well."""
    spec: Mapping[str, Any]
    """The resolved spec."""
    folder: str
    """The sweep's files, relative to the ledger's folder."""
    spec_dir: str | None
    """Folder of the spec, where a trainable's file may be, as an absolute path; see `spec_dir.find_spec_dir`."""
    code: Mapping[str, str] | None
    """The trainable's source, file or function to hash; None if it can't be known."""
    started_at: str
    """UTC, ISO 8601."""
    ended_at: str | None
    """UTC, ISO 8601; None while it runs."""
    can_pause: bool | None = None
    """False once a trial should have waited at a rung and had no checkpoint; None before."""
    spec_from_home: str | None = None
    """Folder of the spec, from the ledger's folder; None in an older ledger, and for a spec within that folder."""

    @property
    def metric(self) -> str:
        """Name of the objective."""
        return str(self.spec["metric"]["name"])

    @property
    def sign(self) -> int:
        """1 to minimise, -1 to maximise."""
        return 1 if self.spec["metric"]["goal"] == "minimize" else -1


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial."""

    id: int
    """Key of the row."""
    number: int
    """Counted from 1."""
    state: TrialState
    """See DESIGN: success is done, stopped or reused."""
    cause: Cause | None
    """Why it failed; None unless failed."""
    evidence: str | None
    """The cause in one sentence."""
    point: Mapping[str, Any]
    """Dotted name to value, constants included."""
    seed: int
    """Seed of the trial's random numbers."""
    fingerprint: str | None
    """What it is recognised by in other sweeps; None if that can't be known."""
    attempts: int
    """Tries so far, at least 1."""
    epochs_trained: int
    """Reports on record."""
    best_value: float | None
    """Best value of the objective."""
    best_epoch: int | None
    """Epoch of `best_value`, counted from 1."""
    last_metrics: Mapping[str, float]
    """The last report."""
    started_at: str
    """UTC, ISO 8601."""
    ended_at: str | None
    """UTC, ISO 8601; None while it runs."""
    duration_s: float | None
    """Seconds of training, all attempts."""
    gpu_peak_gib: float | None
    """Most GPU memory reserved by any rank; None without a GPU."""
    host_peak_gib: float | None
    """Most host memory resident, summed over ranks."""
    checkpoint_epoch: int | None
    """Epoch of the newest checkpoint, complete in the trial's own folder; None without one, and while it runs."""
    reused_from: str | None
    """The trial that answered, as `sweep/number`."""
    code_hash: str | None = None
    """Hash of the code that it began with; None if that can't be known."""
    code: str | None = None
    """Beginnings of the hashes of all code that it ran under, separated by commas; None if that can't be known."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The same, one by one; of a trial of an older ledger, the code that it began with."""
        known = self.code or (self.code_hash or "")[:CODE_DIGITS]
        return tuple(known.split(", ")) if known else ()

    @property
    def succeeded(self) -> bool:
        """Whether it counts as a result."""
        return self.state in SUCCESS_STATES

    @property
    def failed_by_config(self) -> bool:
        """Whether it failed for good and its own configuration is the reason."""
        return self.state == "failed" and is_config_fault(self.cause)


class TrialValues(TypedDict, total=False):
    """Columns of a trial that `Ledger.update_trial` can set; their meanings are those of `TrialRecord`."""

    state: TrialState
    cause: Cause | None
    evidence: str | None
    fingerprint: str | None
    attempts: int
    epochs_trained: int
    best_value: float | None
    best_epoch: int | None
    last_metrics: Mapping[str, float] | None
    ended_at: str | None
    duration_s: float | None
    gpu_peak_gib: float | None
    host_peak_gib: float | None
    checkpoint_epoch: int | None
    reused_from: str | None
    code_hash: str | None
    code: str | None


@dataclass(frozen=True, kw_only=True)
class ReportRecord:
    """One report of one trial."""

    number: int
    """The trial's number."""
    epoch: int
    """Counted from 1."""
    metrics: Mapping[str, float]
    """Everything that was reported."""
    elapsed_s: float
    """Seconds of training of this trial up to here."""


@dataclass(frozen=True, kw_only=True)
class FailureRecord:
    """One attempt that failed."""

    number: int
    """The trial's number."""
    attempt: int
    """Counted from 1."""
    cause: Cause
    """Out of the closed list."""
    evidence: str
    """One sentence."""
    place: str | None
    """`Type at file:line` of an exception."""
    was_retried: bool
    """Whether another attempt followed, or was to follow."""
    counts: bool = True
    """False once the user asked for another try all the same."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A trial that is being trained, and that no other sweep trains meanwhile."""

    sweep_id: int
    """Whose trial."""
    name: str
    """The sweep's name."""
    folder: str
    """The sweep's files, relative to the ledger's folder; the claim is void when nobody holds the lock there."""
    number: int
    """The trial's number."""


def best_of(trials: list[TrialRecord], *, sign: int) -> TrialRecord | None:
    """The successful trial with the best value of its objective, the earlier one of two equals; None without any."""
    ranked = [trial for trial in trials if trial.succeeded and trial.best_value is not None]
    return min(ranked, key=lambda trial: sign * (trial.best_value or 0.0), default=None)
