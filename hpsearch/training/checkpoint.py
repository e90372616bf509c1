"""Checkpoint files: a crash at any time leaves the previous checkpoint intact, and a damaged one is detected.

Each rank writes `epoch-000004.rank-0.pt`, a plain `torch.save` file of `{epoch, states, own, rng}`, and then a manifest
beside it, a small JSON file with its size and checksum. Rank 0 writes `states`, the objects given to `keep`, which are
the same on all ranks; `own` (the objects given to `keep_own`) and `rng` (random states) are written by each rank. A
checkpoint is complete once the manifests of all ranks exist. All ranks read the same files and therefore choose the
same checkpoint without communication. The newest two checkpoints are kept, so that there is an older one to fall back
to if the newest is damaged.

Loading executes no code from the folder (`weights_only=True`) and follows no symbolic links.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import torch

from hpsearch.training.parallel import unwrap
from hpsearch.training.rng import RngStates, get_rng_states
from hpsearch.training.stateful import Stateful

_NAME = re.compile(r"epoch-(\d{6,})\.rank-(\d+)\.(pt|json)(\.tmp)?")
"""Matches the names of a checkpoint's files: epoch, rank, kind of file, and whether it is still being written."""
_MAX_MANIFEST_BYTES = 4096
"""Bytes after which a manifest, which has about 150, is not read further."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint as one rank reads it."""

    epoch: int
    """Epochs that were done when it was written."""
    states: dict[str, Any]
    """Name to `state_dict` of the objects given to `keep`; tensors are on the CPU."""
    own: dict[str, Any]
    """Name to `state_dict` of this rank's objects given to `keep_own`; empty if it was written by fewer ranks."""
    world_size: int
    """Number of ranks that wrote it."""
    rng: RngStates | None
    """This rank's random states; None if it was written by fewer ranks."""


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """The JSON file beside a rank's file; it is written once that file is complete."""

    world_size: int
    """Number of ranks that write this checkpoint."""
    size_bytes: int
    """Size of the rank's file."""
    sha256: str
    """SHA-256 of the rank's file, hexadecimal."""


class _Damaged(Exception):
    """A file of a checkpoint does not have the content that was written; the message is one or two words."""


def save_checkpoint(
    folder: Path,
    *,
    epoch: int,
    rank: int,
    world_size: int,
    objects: Mapping[str, Stateful],
    own: Mapping[str, Stateful] = MappingProxyType({}),
    device: torch.device,
    previous: int | None = None,
) -> None:
    """Write this rank's part of a checkpoint. The last rank to finish deletes all checkpoints but this and `previous`.

    Args:
        folder: Folder of the trial's checkpoints, shared by the ranks; created if needed.
        epoch: Epochs done.
        rank: This process, in [0, world_size).
        world_size: Number of ranks; all of them call this function.
        objects: Objects that are the same on all ranks; empty except on rank 0.
        own: Objects of this rank alone.
        device: Device of this rank, whose random state is saved too.
        previous: Epoch of the checkpoint to fall back to; None for the first one of a trial. The first one is also
            loaded again at once, so that a state that can't be loaded is an error now and not after a crash.

    Raises:
        TypeError: A state contains an object that `torch.load(weights_only=True)` refuses.
        OSError: The disk is full or can't be written; earlier checkpoints are intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _file_name(epoch, rank)
    states, own_states = (
        {name: unwrap(kept).state_dict() for name, kept in things.items()} for things in (objects, own)
    )
    content = {"epoch": epoch, "states": states, "own": own_states, "rng": get_rng_states(device)}
    with _replacing(path) as file:
        torch.save(content, file)
        if previous is None:
            _check_readable(file)
        manifest = _Manifest(world_size=world_size, size_bytes=file.seek(0, os.SEEK_END), sha256=_sha256(file))
    with _replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps(asdict(manifest)).encode())
    with suppress(_Damaged):  # rank 0's manifest may still be that of an earlier, damaged checkpoint
        if _is_complete(folder, epoch):
            _delete_all_but(folder, {epoch, previous})


def load_checkpoint(folder: Path, *, rank: int, at_most: int | None = None) -> tuple[Checkpoint | None, str | None]:
    """Read the newest intact checkpoint.

    Args:
        folder: Folder that `save_checkpoint` wrote to; it need not exist.
        rank: Rank whose own objects and random states to read.
        at_most: Checkpoints of later epochs are ignored, because those epochs were never reported; None for no limit.

    Returns:
        The checkpoint, or None; and a sentence if a damaged checkpoint was skipped, else None.
    """
    damaged: list[str] = []
    found = None
    epochs = (epoch for epoch in _epochs(folder) if at_most is None or epoch <= at_most)
    for epoch in sorted(epochs, reverse=True):
        try:
            if _is_complete(folder, epoch):
                found = _read(folder, epoch, rank)
                break
        except _Damaged as error:
            damaged.append(f"checkpoint of epoch {epoch} is damaged ({error})")
    if not damaged:
        return found, None
    rest = f"went back to epoch {found.epoch}" if found else "began again"
    return found, ", ".join([*damaged, rest])


def _read(folder: Path, epoch: int, rank: int) -> Checkpoint:
    """The checkpoint as this rank reads it, after the files of all ranks have been verified."""
    world_size = _read_manifest(folder, epoch, 0).world_size
    own: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    for writer in range(world_size):
        with _intact(folder, epoch, writer) as file:
            if writer == 0:
                shared = _load(file)
            if writer == rank:
                file.seek(0)
                own = shared if writer == 0 else _load(file)
    return Checkpoint(
        epoch=epoch,
        states=shared["states"],
        own=own.get("own", {}),
        world_size=world_size,
        rng=own.get("rng"),
    )


@contextmanager
def _intact(folder: Path, epoch: int, rank: int) -> Iterator[IO[bytes]]:
    """A rank's file, opened at its start, after its size and checksum were compared with the manifest."""
    manifest = _read_manifest(folder, epoch, rank)
    with _open_plain(folder / _file_name(epoch, rank)) as file:
        if os.fstat(file.fileno()).st_size != manifest.size_bytes:
            raise _Damaged("cut short")
        if _sha256(file) != manifest.sha256:
            raise _Damaged("checksum")
        file.seek(0)
        yield file


def _load(file: IO[bytes]) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise _Damaged("unreadable") from error
    if not isinstance(content, dict) or not {"epoch", "states", "rng"} <= content.keys():
        raise _Damaged("not a checkpoint")
    return content


def _check_readable(file: IO[bytes]) -> None:
    """Raise TypeError, naming the object, if the file can't be loaded without executing code."""
    file.seek(0)
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        culprit = found.group(1) if found else "something"
        raise TypeError(
            f"keep: a state_dict contains {culprit}, which can't be loaded without executing code."
            " In state_dict, convert it to tensors, numbers, texts, lists or dicts."
        ) from error


def _read_manifest(folder: Path, epoch: int, rank: int) -> _Manifest:
    with _open_plain(folder / _file_name(epoch, rank, "json")) as file:
        text = file.read(_MAX_MANIFEST_BYTES)
    try:
        manifest = _Manifest(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise _Damaged("manifest") from error
    if not isinstance(manifest.world_size, int) or manifest.world_size < 1:
        raise _Damaged("manifest")
    return manifest


def _is_complete(folder: Path, epoch: int) -> bool:
    """Whether all ranks have written their part; a checkpoint that was not finished does not count as damaged."""
    if not os.path.lexists(folder / _file_name(epoch, 0, "json")):
        return False
    ranks = range(_read_manifest(folder, epoch, 0).world_size)
    return all(os.path.lexists(folder / _file_name(epoch, rank, "json")) for rank in ranks)


def _epochs(folder: Path) -> set[int]:
    """Epochs of which the folder contains any file."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return {int(match.group(1)) for path in paths if (match := _NAME.fullmatch(path.name))}


def _delete_all_but(folder: Path, epochs: set[int | None]) -> None:
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and int(match.group(1)) not in epochs:
            path.unlink(missing_ok=True)  # another rank may delete it at the same time


def _file_name(epoch: int, rank: int, suffix: str = "pt") -> str:
    return f"epoch-{epoch:06d}.rank-{rank}.{suffix}"


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # IO lacks a method of the protocol


def _open_plain(path: Path) -> IO[bytes]:
    """Open a regular file for reading; links, pipes and devices count as damaged."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise _Damaged("file missing") from error
    except OSError as error:
        raise _Damaged(error.strerror or "unreadable") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Damaged("not a file")
    return open(descriptor, "rb")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file that is flushed to disk and renamed to `path` when the block ends without an error."""
    beside = path.with_name(path.name + ".tmp")
    beside.unlink(missing_ok=True)
    try:
        with open(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
