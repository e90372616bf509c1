"""What a rank answers its slot. Plain data, no Ray, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpsearch.slots.protocol import Failed

LOOP_TOO_LONG = (
    "its loop goes on beyond limits.epochs, so nothing after it can run: trials that follow are stopped there at once"
)
"""A note of a trial that gave one more row after its last epoch."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a rank answers when it is asked for the next epoch."""

    metrics: Mapping[str, float] | None = None
    """The numbers of the row that the trainable gave, if it did."""
    ended: bool = False
    """The trainable came to its end."""
    failure: Failed | None = None
    """The trainable raised, or its process is gone."""
    is_secondary: bool = False
    """The failure only says that another rank failed first."""
    is_fatal_to_process: bool = False
    """The process can't be trusted with another trial."""
    trainable_error: str | None = None
    """Why the trainable can't be used at all."""
    is_last: bool = False
    """The trainable is over and hears no further word; its process ends by itself."""
    epoch: int = 0
    """Epochs done, those before a checkpoint included."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint of this attempt, or of the one that it began with."""
    save_s: float = 0.0
    """Seconds that the last checkpoint took to write."""
    gpu_gib: float | None = None
    """Most GPU memory reserved by this process during the attempt."""
    host_gib: float | None = None
    """Most memory resident of this process and its children during the attempt."""
    outside_code: Mapping[str, str] = field(default_factory=dict)
    """The user's files that were imported and are not in the sweep's snapshot, with their hashes."""


@dataclass(frozen=True, kw_only=True)
class CleanupResult:
    """What a rank answers after it has ended an attempt."""

    reusable: bool
    """Whether it can take another trial."""
    notes: tuple[str, ...] = ()
    """What did not end as it should, in sentences."""
