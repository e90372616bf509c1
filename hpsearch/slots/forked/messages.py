"""What passes between a rank, the preload server and the process of a trial. Plain data, no Ray, no torch.

A rank asks the server for a process (`Launch`, answered by `Forked`; later `Exited`), then speaks to that process:
`Step` is answered by a `Reply`, `Finish` by `Saved` and `Closed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition, Rendezvous
from hpsearch.slots.settings import SlotSettings


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """What a rank gives the process that it asks for."""

    settings: SlotSettings
    """Of the sweep."""
    assignment: Assignment
    """The attempt."""
    position: RankPosition
    """Among the ranks of the trial."""
    rendezvous: Rendezvous | None
    """Where the ranks meet; None for a trial of one process."""
    ranks_here: int
    """Ranks, of all trials together, that fit on this machine."""
    working_dir: str
    """Of the user's code on this machine."""
    sys_path: tuple[str, ...]
    """Search path of modules on this machine."""
    environment: Mapping[str, str]
    """All variables, but for those that say which rank it is."""
    listings: Mapping[str, str]
    """What lay at paths that earlier trials of the rank have listed, see `SharedDataHost`."""


# -- rank and server -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    """A rank asks for a process; that process's end of a channel comes with the message, and perhaps its function."""

    setup: TrialSetup


@dataclass(frozen=True)
class Kill:
    """A rank wants a process to end at once."""

    pid: int


@dataclass(frozen=True)
class Ready:
    """The server has imported what it shall."""

    skipped: Mapping[str, str]
    """Modules that are left to the trials, with the reason."""


@dataclass(frozen=True)
class Forked:
    """The process that a rank asked for is there."""

    pid: int


@dataclass(frozen=True)
class Exited:
    """A process of the rank is over, and so is all that it has started."""

    pid: int
    status: int
    """As `os.waitpid` gives it."""


# -- rank and trial --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """The rank asks for the next epoch."""

    save: bool
    """Whether to write a checkpoint after it."""


@dataclass(frozen=True)
class Finish:
    """The rank ends the attempt."""

    save: bool
    """Whether to write a checkpoint first."""
    run_to_end: bool
    """Whether what comes after the last epoch still runs; otherwise the trainable is stopped where it waits."""


@dataclass(frozen=True)
class Saved:
    """What `Finish` asked to be written is on disk."""


@dataclass(frozen=True)
class Closed:
    """The trainable is over; what is left is the end of its process."""

    note: str | None = None
    """What it raised on its way out."""
    reported_again: bool = False
    """It gave one more row in place of an end."""


@dataclass(frozen=True)
class UsesBlock:
    """The trial uses this block of shared data; an open file that holds the block comes with the message."""

    name: str


@dataclass(frozen=True)
class Listed:
    """The trial has looked at what lies at a path."""

    path: str
    text: str
