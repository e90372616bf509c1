"""Records of the ledger: one frozen dataclass for each kind of row, with plain values, and the sets of states."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from hpsearch.errors import Cause, is_config_fault

TrialState = Literal["queued", "running", "paused", "done", "stopped", "failed", "interrupted", "reused"]
"""How far a trial is; the sets below say what the states have in common."""
SweepState = Literal["running", "done", "gave_up", "interrupted"]
"""How far a sweep is; `gave_up`: it ended itself because of failures or a mistake in its trainable."""
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
"""Digits of a code's hash that tables show."""
_TIME_LIMIT = "the time limit of "
"""How the reason begins for which `limits.time` ends a sweep; ledgers of older versions have it too."""


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """A row of the table `sweeps`."""

    id: int
    """Key of the row."""
    name: str
    """Name of the sweep, unique in the ledger."""
    state: SweepState
    """`running` also for a sweep whose process was killed."""
    reason: str | None
    """Why it ended early, and what failed without ending it, in sentences; None if there is nothing to say."""
    spec: Mapping[str, Any]
    """The resolved spec."""
    folder: str
    """The sweep's files, relative to the ledger's folder."""
    spec_dir: str | None
    """Folder of the spec as an absolute path; see `spec_dir.find_spec_dir`. None if the spec was no file."""
    code: Mapping[str, str] | None
    """The trainable's code, file or function to hash; None if it can't be known."""
    started_at: str
    """When it began: UTC, ISO 8601."""
    ended_at: str | None
    """When it ended: UTC, ISO 8601; None while it runs."""
    can_pause: bool | None = None
    """False once a trial had no checkpoint at a rung: trials are stopped there instead. None in older ledgers."""
    spec_from_home: str | None = None
    """Folder of the spec, relative to the ledger's; None in an older ledger, and for a spec within that folder."""
    again: bool | None = None
    """Whether it trains every trial itself, as with `--again`; None in older ledgers, where that is not known."""

    @property
    def ended_by_time_limit(self) -> bool:
        """Whether `limits.time` ended it, so that it has more to do when it resumes."""
        return self.state == "done" and (self.reason or "").startswith(_TIME_LIMIT)

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
    """A row of the table `trials`."""

    id: int
    """Key of the row."""
    number: int
    """Counted from 1 in each sweep."""
    state: TrialState
    """How far it is."""
    cause: Cause | None
    """Why it failed; None unless failed."""
    evidence: str | None
    """What led to the cause, in one sentence; for a queued trial, what it waits for."""
    point: Mapping[str, Any]
    """Dotted name to value, constants included."""
    seed: int
    """Seed of the trial's random numbers."""
    fingerprint: str | None
    """Equal for trials that would train the same; see `ledger/fingerprint.py`. None if it can't be known."""
    attempts: int
    """Attempts so far; 0 for a trial that never had a slot."""
    epochs_trained: int
    """Number of its reports."""
    best_value: float | None
    """Best value of the objective; None without a report."""
    best_epoch: int | None
    """Epoch of `best_value`, counted from 1; None without a report."""
    last_metrics: Mapping[str, float]
    """Metrics of its last report; empty without one."""
    started_at: str
    """When it began: UTC, ISO 8601."""
    ended_at: str | None
    """When it ended: UTC, ISO 8601; None while it runs."""
    duration_s: float | None
    """Seconds of training, all attempts; None before the first ended."""
    gpu_peak_gib: float | None
    """Peak of the GPU memory that any rank reserved, in GiB; None without a GPU."""
    host_peak_gib: float | None
    """Peak of the resident host memory, summed over ranks, in GiB; None if it was not measured."""
    checkpoint_epoch: int | None
    """Epoch of the newest complete checkpoint in the trial's folder; None without one, and while it runs."""
    reused_from: str | None
    """The trial whose reports were reused, as `sweep/number`; None if none were."""
    code_hash: str | None = None
    """Hash of the code that it began with; None if that can't be known."""
    code: str | None = None
    """First digits of the hashes of all code that it ran with, separated by commas; None if that can't be known."""

    @property
    def codes(self) -> tuple[str, ...]:
        """First digits of the hash of each code that it ran with; in an older ledger, of the first one."""
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
    """A row of the table `reports`: the metrics of one trial at one epoch."""

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
    """A row of the table `failures`: an attempt that failed."""

    number: int
    """The trial's number."""
    attempt: int
    """Counted from 1."""
    cause: Cause
    """Why it failed."""
    evidence: str
    """What led to the cause, in one sentence."""
    place: str | None
    """Where an exception was raised, as `Type at file:line`; None for other failures."""
    was_retried: bool
    """Whether another attempt followed, or was to follow."""
    counts: bool = True
    """False once the user asked for another attempt by --retry-failed."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A row of the table `claims`: a trial that is being trained, and that no other sweep trains meanwhile."""

    sweep_id: int
    """Key of the sweep's row."""
    name: str
    """The sweep's name."""
    folder: str
    """The sweep's folder, relative to the ledger's; the claim is void if no process holds the lock there."""
    number: int
    """The trial's number."""


def time_limit_reason(limit_s: float) -> str:
    """Why a sweep ends once the seconds of its `limits.time` are over; see `SweepRecord.ended_by_time_limit`."""
    return f"{_TIME_LIMIT}{limit_s:g} s was reached"


def has_only_failures(sweep: SweepRecord, trials: Collection[TrialRecord]) -> bool:
    """Whether a sweep would lose nothing but failures if it began again; false without a failed trial.

    Where it gave up because of them, trials that this interrupted before their first epoch count as failed.

    Args:
        sweep: The sweep.
        trials: All its trials.
    """
    cut_off = sweep.state == "gave_up"
    failed = [trial for trial in trials if trial.state == "failed"]
    others = [trial for trial in trials if trial.state != "failed"]
    return bool(failed) and all(cut_off and each.state == "interrupted" and not each.epochs_trained for each in others)


def best_of(trials: list[TrialRecord], *, sign: int) -> TrialRecord | None:
    """The successful trial with the best value of the objective; of equal ones the first; None if there is none.

    Args:
        trials: Of one sweep, by number.
        sign: 1 to minimise, -1 to maximise.
    """
    ranked = [trial for trial in trials if trial.succeeded and trial.best_value is not None]
    return min(ranked, key=lambda trial: sign * (trial.best_value or 0.0), default=None)
