"""Messages between a rank, the preload server and the process of a trial. Plain data without Ray and torch.

Between rank and server, `Launch` is answered by `Forked` or `NotForked`, and by `Exited` when the process has ended.
Between rank and process, the process sends `Begins` once it is set up; then `Step` is answered by a `Reply`, and
`Finish` by `Saved` and `Closed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition, Rendezvous
from hpsearch.slots.settings import SlotSettings


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """What a process needs to run an attempt."""

    settings: SlotSettings
    """Settings of the sweep."""
    assignment: Assignment
    """The attempt."""
    position: RankPosition
    """Position of this rank among those of the trial."""
    rendezvous: Rendezvous | None
    """Where the ranks of the attempt meet; None for one rank."""
    ranks_here: int
    """Number of ranks, of all trials together, that fit on this node."""
    working_dir: str
    """Working directory of the user's code on this node."""
    sys_path: tuple[str, ...]
    """Module search path on this node."""
    environment: Mapping[str, str]
    """All environment variables but those that name the rank."""
    listings: Mapping[str, str]
    """Digests of the files at paths that earlier trials of the rank have listed, see `SharedDataHost`."""


# -- rank and server -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    """To the server: fork a process.

    Open files are sent with the message: the process's end of a channel to the rank and, if objects in Ray's store are
    bound to the trainable, a block of memory with the function.
    """

    setup: TrialSetup
    """What the process runs."""


@dataclass(frozen=True)
class Kill:
    """To the server: kill a process of this rank."""

    pid: int
    """Process id."""


@dataclass(frozen=True)
class Ready:
    """From the server: its imports are done."""

    skipped: Mapping[str, str]
    """Modules that each trial imports for itself, and why."""


@dataclass(frozen=True)
class Forked:
    """From the server: the process has been forked."""

    pid: int
    """Process id."""


@dataclass(frozen=True)
class NotForked:
    """From the server: the kernel has refused to fork the process."""

    number: int
    """The kernel's error number, for example EAGAIN."""


@dataclass(frozen=True)
class Exited:
    """From the server: a process of the rank has ended, and so have all processes that it had started."""

    pid: int
    """Process id."""
    status: int
    """Exit status as `os.waitpid` gives it."""


# -- rank and trial --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """To the trial: train the next epoch."""

    save: bool
    """Whether to write a checkpoint after it."""


@dataclass(frozen=True)
class Finish:
    """To the trial: end the attempt."""

    save: bool
    """Whether to write a checkpoint first."""
    run_to_end: bool
    """Whether the code after the last epoch still runs; otherwise the trainable is stopped where it waits."""


@dataclass(frozen=True)
class Begins:
    """From the trial: its process is set up, and the user's code begins now; what fails from here on is its own."""


@dataclass(frozen=True)
class Saved:
    """From the trial: the checkpoint that `Finish` has asked for is on disk."""


@dataclass(frozen=True)
class Closed:
    """From the trial: the trainable has ended, and its process is about to exit."""

    note: str | None = None
    """What it raised while it ended, as a line for the log; None for nothing."""
    reported_again: bool = False
    """Whether it reported again after its last epoch."""


@dataclass(frozen=True)
class SharesBlock:
    """From the trial: it uses a block of shared data, whose open file is sent with the message."""

    name: str
    """Name of the block."""


@dataclass(frozen=True)
class SharesListing:
    """From the trial: the digest of the files at a path, for later trials."""

    path: str
    """The path."""
    digest: str
    """Digest of the files."""
