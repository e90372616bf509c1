"""What the driver and a slot send each other: assignments, events, and the verdict on each event.

Plain data without Ray and torch. The engine, which decides about trials, imports nothing else of the slots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from hpsearch.errors import Cause
from hpsearch.text import writable


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt at one trial, as the driver gives it to a slot."""

    number: int
    """The trial's number, counted from 1."""
    attempt: int
    """The number of the attempt at this trial, counted from 1."""
    config: Mapping[str, Any]
    """The configuration, nested as the trainable gets it."""
    seed: int
    """Seed of all random number generators."""
    max_epochs: int | None
    """Epoch after which the driver will end the trial; None where the trainable decides."""
    known_epochs: int = 0
    """Epochs in the ledger: a checkpoint of a later epoch is not used, since the report of that epoch was lost."""
    save_epochs: tuple[int, ...] = ()
    """Epochs whose checkpoint must be on disk before the slot reports them."""
    time_left_s: float | None = None
    """Seconds of training left to the trial; None without a limit."""

    def to_json(self) -> str:
        """One line of JSON: Ray Tune copies, flattens and prints configs, and a text is cheap to copy."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """The inverse of `to_json`."""
        tree = json.loads(text)
        return cls(**{**tree, "save_epochs": tuple(tree["save_epochs"])})


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """The most memory that an attempt has held so far."""

    gpu_gib: float | None = None
    """GiB of GPU memory reserved by the rank with the most; None without a GPU."""
    host_gib: float | None = None
    """GiB of resident host memory, summed over ranks; None where the system does not say."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One epoch is trained."""

    epoch: int
    """Number of the epoch, counted from 1 over all attempts that continued from a checkpoint."""
    metrics: Mapping[str, float]
    """Finite values by name, the objective among them."""
    elapsed_s: float
    """Seconds of training in this attempt."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint; None without one."""
    peaks: Peaks = field(default_factory=Peaks)
    """Memory used so far."""
    setup_s: float | None = None
    """Seconds by which the first epoch of an attempt took longer than its later ones; None before the second epoch, and
    where the process has trained another trial before."""
    outside_code: Mapping[str, str] = field(default_factory=dict)
    """The user's files that the trial imported and that are not in the sweep's snapshot: path to SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The trainable returned by itself."""

    elapsed_s: float
    """Seconds of training in this attempt."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint; None without one."""
    peaks: Peaks = field(default_factory=Peaks)
    """Memory used."""
    setup_s: float | None = None
    """Seconds by which the first epoch of an attempt took longer than its later ones; None before the second epoch, and
    where the process has trained another trial before."""
    outside_code: Mapping[str, str] = field(default_factory=dict)
    """The user's files that the trial imported and that are not in the sweep's snapshot: path to SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The attempt failed, for one cause."""

    cause: Cause
    """One of the causes in `errors.Cause`."""
    evidence: str
    """One sentence on what happened, and where."""
    place: str | None = None
    """`Type at file:line` of an exception, equal for two failures that are the same; None without an exception."""
    elapsed_s: float = 0.0
    """Seconds of training in this attempt."""
    peaks: Peaks = field(default_factory=Peaks)
    """Memory used, as far as it is known."""
    has_begun: bool = True
    """False if it failed before the first line of the user's code, for which no configuration is to blame."""
    is_misspelling: bool = False
    """Whether the spec and the code have different spellings of the metric, so that each trial will fail like this."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", writable(self.evidence))
        object.__setattr__(self, "place", None if self.place is None else writable(self.place))


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """The trainable can't be used at all, so that no trial of this sweep can run."""

    evidence: str
    """What is wrong, and where; the sweep ends with this message as a mistake of the user's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", writable(self.evidence))


Event = Report | Ended | Failed | Unusable
"""What a slot returns for the next event of its assignment."""


class Verdict(Enum):
    """What a slot has to do with the trial after an event."""

    CONTINUE = "continue"
    """Train the next epoch."""
    END = "end"
    """End the trial; no further checkpoint is needed."""
    RUN_TO_END = "run to end"
    """End the trial after its last epoch: first run the code that comes after its training loop."""
    SAVE_AND_END = "save and end"
    """Write a checkpoint of the epoch just reported, then end the trial."""
