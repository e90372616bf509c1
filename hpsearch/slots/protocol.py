"""What passes between the driver and a slot: an assignment goes in, events come out, each has a verdict.

Plain data, no Ray, no torch.
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
    """One attempt at one trial, as a slot gets it."""

    number: int
    """The trial's number, counted from 1."""
    attempt: int
    """Counted from 1."""
    config: Mapping[str, Any]
    """Nested, as the trainable gets it."""
    seed: int
    """Seeds every random number of the attempt."""
    max_epochs: int | None
    """Epoch at which the driver will end it; None where the trainable decides."""
    known_epochs: int = 0
    """Epochs on record: a checkpoint of a later one is passed over, since its report was lost."""
    save_epochs: tuple[int, ...] = ()
    """Epochs whose state must be on disk before their report leaves the slot."""
    time_left_s: float | None = None
    """Seconds of training left to the trial; None without a limit."""

    def to_json(self) -> str:
        """One line of text: Tune copies, flattens and prints configs, and a text is cheap to copy."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """The inverse of `to_json`."""
        tree = json.loads(text)
        return cls(**{**tree, "save_epochs": tuple(tree["save_epochs"])})


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Most memory that an attempt held so far."""

    gpu_gib: float | None = None
    """Most GPU memory reserved by any rank; None without a GPU."""
    host_gib: float | None = None
    """Most host memory resident, summed over ranks; None where the system does not tell."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One epoch is done."""

    epoch: int
    """Counted from 1, over all attempts that continued from a checkpoint."""
    metrics: Mapping[str, float]
    """Finite, the objective among them."""
    elapsed_s: float
    """Seconds of training in this attempt."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint; None without one."""
    peaks: Peaks = field(default_factory=Peaks)
    """Memory so far."""
    setup_s: float | None = None
    """Seconds that an attempt's first epoch took longer than its later ones; None before there is a later one, and
    where the process was there before."""
    outside_code: Mapping[str, str] = field(default_factory=dict)
    """The user's files that the trial imported and that are not in the sweep's snapshot: path to SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The trainable came to its end by itself."""

    elapsed_s: float
    """Seconds of training in this attempt."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint; None without one."""
    peaks: Peaks = field(default_factory=Peaks)
    """Memory."""
    setup_s: float | None = None
    """Seconds that an attempt's first epoch took longer than its later ones; None before there is a later one, and
    where the process was there before."""
    outside_code: Mapping[str, str] = field(default_factory=dict)
    """The user's files that the trial imported and that are not in the sweep's snapshot: path to SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The attempt failed."""

    cause: Cause
    """Out of the closed list."""
    evidence: str
    """One sentence."""
    place: str | None = None
    """`Type at file:line` of an exception: two failures with the same one are the same failure."""
    elapsed_s: float = 0.0
    """Seconds of training in this attempt."""
    peaks: Peaks = field(default_factory=Peaks)
    """Memory, as far as it is known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", writable(self.evidence))
        object.__setattr__(self, "place", None if self.place is None else writable(self.place))


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """The trainable itself can't be used: no trial of this sweep can run."""

    evidence: str
    """What went wrong and where; ends the sweep as the user's mistake."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", writable(self.evidence))


Event = Report | Ended | Failed | Unusable
"""What a slot answers when it is asked for the next event of its attempt."""


class Verdict(Enum):
    """What a slot does after an event."""

    CONTINUE = "go on"
    END = "end"
    """Let go of the trial; its state is on disk as far as it ever will be."""
    RUN_TO_END = "run out"
    """The trial has its last epoch: what comes after its loop may still run, then the slot releases it."""
    SAVE_AND_END = "save and end"
    """Write a checkpoint of the epoch just reported, then let go."""
