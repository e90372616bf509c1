"""What a rank returns to its slot after each epoch and at the end of an attempt. Plain data without Ray and torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpsearch.slots.protocol import Failed

LOOP_TOO_LONG = (
    "its training loop continues beyond limits.epochs, so the code after it can't run: later trials are stopped at once"
    " after their last epoch"
)
"""Note in the log of a trial that reported again after its last epoch."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a rank returns after one epoch, or after the end of the trainable."""

    metrics: Mapping[str, float] | None = None
    """The metrics that the trainable reported; None where it did not report."""
    ended: bool = False
    """Whether the trainable returned by itself."""
    failure: Failed | None = None
    """What the trainable raised, or how its process ended; None without a failure."""
    is_secondary: bool = False
    """Whether the failure is only the consequence of another rank's failure."""
    is_fatal_to_process: bool = False
    """Whether the failure makes the process unusable for another trial."""
    trainable_error: str | None = None
    """Why the trainable can't be used at all; None if it can."""
    is_last: bool = False
    """Whether the trainable has ended, so that its process receives no further message and exits by itself."""
    epoch: int = 0
    """Epochs done, including those before the checkpoint that the attempt continued from."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint, or of the one that the attempt continued from; None without one."""
    save_s: float = 0.0
    """Seconds that the last checkpoint took to write."""
    gpu_gib: float | None = None
    """The most GPU memory, in GiB, that this process reserved in the attempt; None without a GPU."""
    host_gib: float | None = None
    """The most resident memory, in GiB, of this process and its children in the attempt; None if not known."""
    outside_code: Mapping[str, str] = field(default_factory=dict)
    """The user's files that were imported and are not in the sweep's snapshot: path to SHA-256."""


@dataclass(frozen=True, kw_only=True)
class CleanupResult:
    """What a rank returns after it has ended an attempt."""

    reusable: bool
    """Whether the process can run another trial."""
    notes: tuple[str, ...] = ()
    """Lines for the trial's log on what did not end as it should."""
