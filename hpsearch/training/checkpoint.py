"""Checkpoints on disk: a crash at any instant leaves the one before, and a damaged one is noticed.

Each rank writes `epoch-000004.rank-0.pt`, a plain `torch.save` file of `{epoch, states, own, rng}`, then a small JSON
beside it with its checksum. Rank 0 writes the states of replicas, since they are equal; random states and what was
given to `keep_own` are each rank's own. It counts once every rank's JSON is there. All ranks look at the same files and
come to the same verdict without talking.
The newest two are kept: the older one is what a damaged newest falls back to.

Nothing in the folder is ever executed (`weights_only=True`), and no symbolic link in it is followed.
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
_MAX_MANIFEST_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a rank reads back."""

    epoch: int
    """Epochs that were done when it was written."""
    states: dict[str, Any]
    """Name to `state_dict`, tensors on the CPU."""
    own: dict[str, Any]
    """The same, of what each rank keeps for itself; empty if the writers had no such rank."""
    world_size: int
    """Ranks that wrote it."""
    rng: RngStates | None
    """This rank's random states; None if the writers had no such rank."""


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """What stands beside a rank's file once that is complete."""

    world_size: int
    size_bytes: int
    sha256: str


class _Damaged(Exception):
    """A file is there and is not what was written; the text says what is wrong in a word or two."""


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
    """Write this rank's part; whoever completes the checkpoint deletes all but this one and `previous`.

    Args:
        folder: Shared by the ranks; made if needed.
        epoch: Epochs done.
        rank: This rank.
        world_size: Ranks that write, each of them.
        objects: What has a state; empty but on rank 0.
        own: What has a state that no other rank has.
        device: This rank's, whose random state is taken.
        previous: Epoch of the checkpoint to fall back to; None for the first of a trial, which is also read
            back at once, so that a state that can't be read is an error now and not after a crash.

    Raises:
        TypeError: A state holds what only arbitrary code could read back.
        OSError: The storage is full or broken; the checkpoints before are intact.
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
    with suppress(_Damaged):  # rank 0's manifest may still be an old one that was passed over
        if _is_complete(folder, epoch):
            _delete_all_but(folder, {epoch, previous})


def load_checkpoint(folder: Path, *, rank: int, at_most: int | None = None) -> tuple[Checkpoint | None, str | None]:
    """The newest intact checkpoint.

    Args:
        folder: Where `save_checkpoint` wrote.
        rank: Whose random states to take.
        at_most: Checkpoints of later epochs are passed over: their epochs were never told; None for no limit.

    Returns:
        The checkpoint, None if there is none; and a sentence if a damaged one was passed over.
    """
    damaged: list[str] = []
    found = None
    told = (epoch for epoch in _epochs(folder) if at_most is None or epoch <= at_most)
    for epoch in sorted(told, reverse=True):
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
    """This rank's view of a checkpoint, after a look at the files of every rank."""
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
    """A rank's file, open at its start, if it is what its manifest says."""
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
    file.seek(0)
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        culprit = found.group(1) if found else "something"
        raise TypeError(
            f"a state_dict given to keep() holds {culprit}, which can't be read back safely."
            " Turn it into tensors, numbers, texts, lists or dicts in state_dict."
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
    """Whether every rank has written its part; what was begun and never finished is no damage."""
    if not os.path.lexists(folder / _file_name(epoch, 0, "json")):
        return False
    ranks = range(_read_manifest(folder, epoch, 0).world_size)
    return all(os.path.lexists(folder / _file_name(epoch, rank, "json")) for rank in ranks)


def _epochs(folder: Path) -> set[int]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return {int(match.group(1)) for path in paths if (match := _NAME.fullmatch(path.name))}


def _delete_all_but(folder: Path, epochs: set[int | None]) -> None:
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and int(match.group(1)) not in epochs:
            path.unlink(missing_ok=True)  # another rank may be at it too


def _file_name(epoch: int, rank: int, suffix: str = "pt") -> str:
    return f"epoch-{epoch:06d}.rank-{rank}.{suffix}"


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # wants a protocol that IO lacks


def _open_plain(path: Path) -> IO[bytes]:
    """Open for reading, unless it is a link, a pipe or anything else but a file of bytes."""
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
    """A file to write that takes its name, durably, only when the block ends well."""
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
