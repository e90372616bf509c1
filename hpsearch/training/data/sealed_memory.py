"""Blocks of memory that the processes of one user on one machine share by name. Linux, nothing but the kernel.

A block is an anonymous file in memory (`memfd_create`) that is filled once and then sealed: nobody, its maker included,
can change it any more. Whoever has it open or mapped holds it; with the last holder the kernel frees it, after a kill
-9 too. So there is nothing to clean up and no register of blocks that could be wrong: who holds what stands in /proc.

No torch in here: a slot's supervisor holds the blocks of its ranks without it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

PREFIX = "hpsearch-data-"
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 64  # bytes, as PyTorch's own allocations are
_MAX_WRITE = 2**30  # Linux writes less than 2 GiB a call


def make_block(name: str, parts: Sequence[Any]) -> int:
    """A sealed block of these bytes, as an open file descriptor, which holds it.

    Args:
        name: Letters, digits and `-`; at most 200.
        parts: Objects with one contiguous buffer each. Behind them stand their places, as JSON, and the length of that.

    Raises:
        OSError: There is not enough memory.
    """
    block = os.memfd_create(PREFIX + name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        spans, end = [], 0
        for part in parts:
            view = memoryview(part).cast("B")
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            _write(block, view, start)
            end = start + len(view)
            spans.append((start, end))
        index = json.dumps(spans).encode()
        _write(block, memoryview(index + _LENGTH.pack(len(index))), end)
        fcntl.fcntl(block, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(block)
        raise
    return block


def map_block(block: int) -> list[memoryview]:
    """The parts of a block, in memory of this process that lives as long as any of them.

    They may be written to: a page is copied first, and nobody else sees what is written.
    """
    whole = memoryview(mmap.mmap(block, 0, access=mmap.ACCESS_COPY))
    start_of_length = len(whole) - _LENGTH.size
    (length,) = _LENGTH.unpack(whole[start_of_length:])
    spans = json.loads(bytes(whole[start_of_length - length : start_of_length]))
    return [whole[start:end] for start, end in spans]


def find_block(name: str, pids: Iterable[int] | None = None) -> int | None:
    """An open file descriptor of a sealed block, whichever process holds it; None where none does.

    Args:
        name: As it was made.
        pids: Where to look; None for every process of this machine that the user may look into.
    """
    for pid in _pids() if pids is None else pids:
        for found, path in _blocks_of(pid):
            if found == name and (block := _open_sealed(path)) is not None:
                return block
    return None


def block_names(pids: Iterable[int]) -> set[str]:
    """Names of the blocks that these processes hold."""
    return {name for pid in pids for name, _ in _blocks_of(pid)}


@final
class HeldBlocks:
    """Holds what other processes hold, so that it outlives them."""

    def __init__(self) -> None:
        self._blocks: dict[str, int] = {}

    def sync(self, pids: Iterable[int]) -> None:
        """Hold what these processes hold now, and nothing else."""
        pids = list(pids)
        names = block_names(pids)
        for name in self._blocks.keys() - names:
            os.close(self._blocks.pop(name))
        for name in names - self._blocks.keys():
            if (block := find_block(name, pids)) is not None:
                self._blocks[name] = block


@final
class RecentBlocks:
    """Holds the blocks that trials, one after the other, have used: those of this trial and of the one before."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._trials = 0

    def begin_trial(self) -> None:
        """The next trial begins: what neither this one nor the one before has used is let go."""
        self._trials += 1
        for name in [name for name, trial in self._used.items() if trial < self._trials - 2]:
            os.close(self._files.pop(name))
            del self._used[name]

    def add(self, name: str, file: int) -> None:
        """The trial uses a block; `file` is an open file that holds it, and this shelf's from now on."""
        if name in self._files:
            os.close(file)
        else:
            self._files[name] = file
        self._used[name] = self._trials

    def close(self) -> None:
        """Let go of everything."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._used.clear()


@contextmanager
def exclusive_lock(name: str) -> Iterator[None]:
    """Processes and threads of this machine that come with the same name go through the block one after the other.

    A process that dies inside lets the next one in. The lock is an empty file in the folder for temporary files,
    and gone at the end.
    """
    path = Path(tempfile.gettempdir()) / f"hpsearch-{os.getuid()}-{name}.lock"
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            break
        os.close(lock)  # the one before has removed it
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _write(block: int, view: memoryview, start: int) -> None:
    done = 0
    while done < len(view):
        done += os.pwrite(block, view[done : done + _MAX_WRITE], start + done)


def _pids() -> Iterator[int]:
    """This process first, then the others."""
    yield os.getpid()
    others = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    yield from (pid for pid in others if pid != os.getpid())


def _blocks_of(pid: int) -> Iterator[tuple[str, Path]]:
    """(name, path in /proc) of every block that a process has open; nothing of processes of others."""
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(path.readlink())
                if target.startswith(f"/memfd:{PREFIX}"):
                    yield target.removeprefix(f"/memfd:{PREFIX}").removesuffix(" (deleted)"), path


def _open_sealed(path: Path) -> int | None:
    """The block, unless it is not finished, or not this user's: what is in it will be trusted."""
    try:
        block = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(block).st_uid == os.geteuid() and fcntl.fcntl(block, fcntl.F_GET_SEALS) & _SEALS == _SEALS:
        return block
    os.close(block)
    return None
