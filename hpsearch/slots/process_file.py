"""The processes that train a trial: a small file in the trial's folder, for commands that run in other processes.

A slot writes it with the first step of an attempt and removes it at the end. A file that was left behind by a kill does
no harm: a process counts only if its process id, the boot of its machine and its start time are those in the file.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from hpsearch.links import IN_TRIAL, check_unlinked, make_folder, read_file
from hpsearch.paths import replace_file


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process, distinguished from all others that have had, or will have, the same process id."""

    pid: int
    """Process id."""
    host: str
    """Host name of its machine."""
    boot: str
    """Boot id of that machine; empty where the system has none."""
    started: int
    """Clock ticks from that boot to the start of the process; 0 where the system does not say."""

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process of this machine that has this process id now."""
        return cls(pid=pid, host=socket.gethostname(), boot=_boot(), started=_started(pid))

    @property
    def is_here(self) -> bool:
        """Whether it has run on this machine since the machine's last boot."""
        return self.host == socket.gethostname() and self.boot == _boot()

    @property
    def is_alive(self) -> bool:
        """Whether it runs on this machine now; False for a later process with the same process id."""
        return self.is_here and _started(self.pid) == self.started != 0


@dataclass(frozen=True, kw_only=True)
class RankProcess:
    """The process of one rank of a trial."""

    process: Process
    """The process that runs the user's code."""
    gpus: str
    """Its CUDA_VISIBLE_DEVICES; empty for none."""


@dataclass(frozen=True, kw_only=True)
class TrialProcesses:
    """The processes that train one attempt at a trial."""

    attempt: int
    """The number of the attempt, counted from 1."""
    ranks: tuple[RankProcess, ...]
    """The process of each rank, in the order of the ranks."""


def write_process_file(path: Path, processes: TrialProcesses) -> None:
    """Write the file in one step. An error of the disk is ignored: the trial can continue without the file.

    Args:
        path: The file, as `paths.processes_path` gives it.
        processes: What to write.
    """
    with suppress(OSError):
        make_folder(path.parent, parts=IN_TRIAL - 1)
        replace_file(path, json.dumps(asdict(processes)))


def remove_process_file(path: Path) -> None:
    """Remove the file, since no process trains the trial any more; an error of the disk is ignored."""
    with suppress(OSError):
        check_unlinked(path.parent, parts=IN_TRIAL - 1)
        path.unlink(missing_ok=True)


def read_process_file(path: Path) -> TrialProcesses | None:
    """What the file says; None where there is no file, or its content was not written by `write_process_file`."""
    try:
        tree = json.loads(read_file(path, parts=IN_TRIAL))
        ranks = [
            RankProcess(process=process_from_dict(rank["process"]), gpus=str(rank["gpus"])) for rank in tree["ranks"]
        ]
        return TrialProcesses(attempt=int(tree["attempt"]), ranks=tuple(ranks))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def attempt_processes(path: Path, *, attempt: int) -> TrialProcesses | None:
    """The processes in the file if they train this attempt, else None: an earlier attempt may have left its file."""
    processes = read_process_file(path)
    return processes if processes is not None and processes.attempt == attempt else None


def process_from_dict(tree: dict[str, object]) -> Process:
    """The inverse of `dataclasses.asdict` for a `Process`.

    Raises:
        KeyError, TypeError, ValueError: It is no such dict.
    """
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
