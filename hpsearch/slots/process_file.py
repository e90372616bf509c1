"""Which processes train a trial: a small file in the trial's folder, for whoever looks on from another process.

It is there from the first step of an attempt until its slot lets go of it. One that a kill has left behind does no
harm: a process counts only if its number, the boot of its machine and the instant of its start are those on file.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hpsearch.paths import replace_file


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process, told apart from any other that has, or will have, its number."""

    pid: int
    host: str
    """The machine's name for itself."""
    boot: str
    """Id of the boot of that machine; empty where it has none."""
    started: int
    """Clock ticks from that boot to the start of the process; 0 where the system does not tell."""

    @classmethod
    def of(cls, pid: int) -> Process:
        """A process of this machine."""
        return cls(pid=pid, host=socket.gethostname(), boot=_boot(), started=_started(pid))

    @property
    def is_here(self) -> bool:
        """Whether it ran, or runs, on this machine since its last boot."""
        return self.host == socket.gethostname() and self.boot == _boot()

    @property
    def is_alive(self) -> bool:
        """Whether it is a process of this machine now, and the same one."""
        return self.is_here and _started(self.pid) == self.started != 0


@dataclass(frozen=True, kw_only=True)
class RankProcess:
    """One rank of a trial."""

    process: Process
    gpus: str
    """What it sees, as in CUDA_VISIBLE_DEVICES; empty for none."""


@dataclass(frozen=True, kw_only=True)
class TrialProcesses:
    """The processes of one attempt."""

    attempt: int
    """Counted from 1."""
    ranks: tuple[RankProcess, ...]
    """By rank."""


def write_process_file(path: Path, roster: TrialProcesses) -> None:
    """Put it into a trial's folder, in one step; a disk that is full is no reason to lose the trial.

    Args:
        path: As `paths.processes_path` gives it, here and in the functions below.
        roster: What to write.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(asdict(roster)))


def remove_process_file(path: Path) -> None:
    """Nobody trains this trial any more."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def read_process_file(path: Path) -> TrialProcesses | None:
    """What is on file; None where there is nothing, or nothing that was written by `write_process_file`."""
    try:
        tree = json.loads(path.read_text())
        ranks = [
            RankProcess(process=process_from_dict(rank["process"]), gpus=str(rank["gpus"])) for rank in tree["ranks"]
        ]
        return TrialProcesses(attempt=int(tree["attempt"]), ranks=tuple(ranks))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def attempt_processes(path: Path, *, attempt: int) -> TrialProcesses | None:
    """The processes that train an attempt; None as long as none does. What an earlier one has left does not count."""
    roster = read_process_file(path)
    return roster if roster is not None and roster.attempt == attempt else None


def process_from_dict(tree: dict[str, object]) -> Process:
    """A process as `asdict` gives it; raises ValueError, KeyError or TypeError for anything else."""
    values = {field.name: tree[field.name] for field in fields(Process)}
    wanted = {"pid": int, "host": str, "boot": str, "started": int}
    if any(not isinstance(values[name], kind) for name, kind in wanted.items()):
        raise ValueError("no process")
    return Process(**values)  # type: ignore[arg-type]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
