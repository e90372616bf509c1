"""Blocks of memory that the processes of one user on one machine share by name; Linux only.

A block is an anonymous file in memory (`memfd_create`) that is filled once and then sealed, so that no process can
change it any more. It exists as long as any process has it open or mapped; then the kernel frees it, also after a
SIGKILL. There is nothing to clean up, and no registry that could be out of date: /proc shows which process holds which
block.

This module does not import torch, because a slot's supervisor holds the blocks of its ranks without it.

Source:
    `man 2 memfd_create`, `man 2 fcntl` (file seals).
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
"""Beginning of the name, in /proc, of the file of each block."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Seals of a block: nothing can be written or resized, and no seal removed."""
_LENGTH = struct.Struct("<Q")
"""The last bytes of a block: the length of the JSON text before them, in bytes."""
_ALIGNMENT = 64
"""Bytes to which each part is aligned, as PyTorch aligns its own allocations."""
_MAX_WRITE = 2**30
"""Most bytes that are written by one call; Linux writes less than 2 GiB at once."""


def make_block(name: str, parts: Sequence[Any]) -> int:
    """Make a sealed block.

    Args:
        name: Name of the block: letters, digits and `-`, at most 200 characters.
        parts: Objects with one contiguous buffer each. The block contains them aligned to 64 bytes, then their
            positions as JSON, then the length of that JSON text.

    Returns:
        An open file descriptor, which keeps the block in memory.

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
    """Map the parts of a block into this process.

    Args:
        block: Open file descriptor of the block.

    Returns:
        The parts; the mapping exists as long as any of them. They may be written to: the kernel copies the page first
        (copy-on-write), so other processes do not see the change.
    """
    whole = memoryview(mmap.mmap(block, 0, access=mmap.ACCESS_COPY))
    start_of_length = len(whole) - _LENGTH.size
    (length,) = _LENGTH.unpack(whole[start_of_length:])
    spans = json.loads(bytes(whole[start_of_length - length : start_of_length]))
    return [whole[start:end] for start, end in spans]


def find_block(name: str, pids: Iterable[int] | None = None) -> int | None:
    """Find a sealed block that some process holds.

    Args:
        name: Name of the block.
        pids: Processes to search; None for all processes of this machine that the user may inspect.

    Returns:
        A new open file descriptor of the block; None if no process holds it.
    """
    for pid in _pids() if pids is None else pids:
        for found, path in _blocks_of(pid):
            if found == name and (block := _open_sealed(path)) is not None:
                return block
    return None


def block_names(pids: Iterable[int]) -> set[str]:
    """Names of the blocks that these processes have open."""
    return {name for pid in pids for name, _ in _blocks_of(pid)}


@final
class HeldBlocks:
    """Keeps the blocks of other processes open, so that the blocks outlive those processes."""

    def __init__(self) -> None:
        self._blocks: dict[str, int] = {}

    def sync(self, pids: Iterable[int]) -> None:
        """Open the blocks that these processes have open now, and close all others."""
        pids = list(pids)
        names = block_names(pids)
        for name in self._blocks.keys() - names:
            os.close(self._blocks.pop(name))
        for name in names - self._blocks.keys():
            if (block := find_block(name, pids)) is not None:
                self._blocks[name] = block


@final
class RecentBlocks:
    """Keeps the blocks open that the current trial and the two before it have used, for one trial after another."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._trials = 0

    def begin_trial(self) -> None:
        """Call this when the next trial begins: blocks that neither of the last two trials has used are closed."""
        self._trials += 1
        for name in [name for name, trial in self._used.items() if trial < self._trials - 2]:
            os.close(self._files.pop(name))
            del self._used[name]

    def add(self, name: str, file: int) -> None:
        """Add a block that the current trial uses.

        Args:
            name: Name of the block.
            file: Open file descriptor of the block; it is closed here.
        """
        if name in self._files:
            os.close(file)
        else:
            self._files[name] = file
        self._used[name] = self._trials

    def close(self) -> None:
        """Close all blocks."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._used.clear()


@contextmanager
def exclusive_lock(name: str) -> Iterator[None]:
    """Within the block, hold a lock that the processes and threads of this user on this machine share by name.

    A process that dies inside the block releases the lock. The lock is an empty file in the folder for temporary files,
    which is deleted at the end.
    """
    path = Path(tempfile.gettempdir()) / f"hpsearch-{os.getuid()}-{name}.lock"
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            break
        os.close(lock)  # its previous owner has deleted it
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
    """(name, path in /proc) of each block that a process has open; nothing for processes of other users."""
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(path.readlink())
                if target.startswith(f"/memfd:{PREFIX}"):
                    yield target.removeprefix(f"/memfd:{PREFIX}").removesuffix(" (deleted)"), path


def _open_sealed(path: Path) -> int | None:
    """Open a block; None unless it is sealed and belongs to this user, because its content is unpickled."""
    try:
        block = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(block).st_uid == os.geteuid() and fcntl.fcntl(block, fcntl.F_GET_SEALS) & _SEALS == _SEALS:
        return block
    os.close(block)
    return None
