"""The checkpoints of trials as files, without torch: which are complete, and how they are shared and removed.

`training/checkpoint.py` writes a checkpoint as two files for each rank, `epoch-000004.rank-0.pt` and a manifest beside
it; of a Ray Tune function it is one folder, `ray-epoch-4`. What is in them is checked by who reads them: here a
checkpoint is complete when all its files are there in the sizes that the manifests say.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

KEPT = 2
"""Checkpoints that a trial keeps while it runs: what a damaged newest falls back to is one of them."""
_NAME = re.compile(r"(?:ray-)?epoch-(\d+)(?:\.rank-\d+\.(?:pt|json)(?:\.tmp)?)?")
_MAX_MANIFEST_BYTES = 4096


def complete_epochs(folder: Path) -> list[int]:
    """Epochs whose checkpoint in `folder` is complete, earliest first; empty without a folder."""
    return sorted(epoch for epoch in _named_epochs(folder) if checkpoint_path(folder, epoch) is not None)


def newest_epoch(folder: Path, *, at_most: int) -> int | None:
    """The last epoch with a complete checkpoint, none later than `at_most`; None without any."""
    return max((epoch for epoch in complete_epochs(folder) if epoch <= at_most), default=None)


def checkpoint_path(folder: Path, epoch: int) -> Path | None:
    """The complete checkpoint of an epoch: the file of rank 0, or the folder that a Ray Tune function handed in.

    Those of other ranks lie beside the file. None where there is none.
    """
    if _parts(folder, epoch):
        return folder / _file_name(epoch, 0)
    path = _ray_folder(folder, epoch)
    return path if _is_filled(path) else None


def drop_later(folder: Path, epoch: int) -> None:
    """Remove the checkpoints of later epochs, complete or not: nothing on record tells what they are of."""
    _remove_epochs(folder, {each for each in _named_epochs(folder) if each > epoch})


def share_checkpoints(source: Path, target: Path, *, epochs: Iterable[int]) -> int | None:
    """Give a trial that does not run the checkpoints of these epochs of another one, beside its own.

    They are linked, which takes no room, or copied where the file system has no hard links. Each is complete or not
    there at every instant: what vanishes from `source` meanwhile, or finds no room, is left out. The newest two of all
    stay, as of a trial that runs.

    Args:
        source: The other trial's; it may be removed at any time.
        target: The trial's own; made if needed.
        epochs: Any that are not complete in `target`.

    Returns:
        The newest epoch of these that is complete in `target` now; None if none is.
    """
    shared = [epoch for epoch in sorted(epochs) if _share(source, target, epoch)]
    if not shared:
        return None
    _remove_epochs(target, _named_epochs(target) - set(complete_epochs(target)[-KEPT:]))
    _sync_folder(target)
    return shared[-1]


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a trial; a removal that is cut short leaves none that looks complete."""
    if folder.is_symlink():
        return
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)  # one that was cut short
    try:
        folder.rename(gone)
    except OSError:
        gone = folder
    shutil.rmtree(gone, ignore_errors=True)


def _named_epochs(folder: Path) -> set[int]:
    """Epochs that any file speaks of."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return set()
    return {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}


def _parts(folder: Path, epoch: int) -> list[Path]:
    """The files of a complete checkpoint, rank by rank, each before its manifest; empty if it is not complete."""
    parts: list[Path] = []
    rank, world_size = 0, 1
    while rank < world_size:
        path, manifest = (folder / _file_name(epoch, rank, suffix) for suffix in ("pt", "json"))
        found = _read_manifest(manifest)
        if found is None or _size(path) != found[1]:
            return []
        world_size = found[0] if rank == 0 else world_size
        parts += [path, manifest]
        rank += 1
    return parts


def _read_manifest(path: Path) -> tuple[int, int] | None:
    """(Ranks that wrote, size of the file beside it in bytes); None if it is none."""
    if _size(path) is None:
        return None
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_MANIFEST_BYTES))
        world_size, size_bytes = found["world_size"], found["size_bytes"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return (world_size, size_bytes) if isinstance(world_size, int) and world_size >= 1 else None


def _size(path: Path) -> int | None:
    """Bytes of a plain file; None if there is none of that name."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _is_filled(path: Path) -> bool:
    """Whether it is a folder with something in it: an empty one is what a removal has left."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode) and any(path.iterdir())
    except OSError:
        return False


def _share(source: Path, target: Path, epoch: int) -> bool:
    """Whether the checkpoint of an epoch is complete in both folders now."""
    parts, folder = _parts(source, epoch), _ray_folder(source, epoch)
    if not parts and not _is_filled(folder):
        return False
    try:
        target.mkdir(parents=True, exist_ok=True)
        _remove_epochs(target, {epoch})  # what was begun there and never finished
        if parts:
            _share_files(parts, target)
        else:
            _share_folder(folder, _ray_folder(target, epoch))
        is_complete = checkpoint_path(target, epoch) is not None
    except (OSError, shutil.Error):
        is_complete = False
    if not is_complete:
        _remove_epochs(target, {epoch})
    return is_complete


def _share_files(parts: list[Path], target: Path) -> None:
    """The manifest of rank 0 comes last: without it the rest is no checkpoint."""
    for path in sorted(parts[2:]) + parts[:2]:
        _link(path, target / path.name)


def _share_folder(source: Path, target: Path) -> None:
    """Made beside and renamed, if it is still all there by then."""
    beside = target.with_name("ray-tmp-shared")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(source, beside, symlinks=True, copy_function=_link)
        if _names_below(source) == _names_below(beside):
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _names_below(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def _link(path: str | Path, target: str | Path) -> None:
    try:
        os.link(path, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        _copy(path, target)


def _copy(path: str | Path, target: str | Path) -> None:
    beside = Path(f"{target}.tmp")
    shutil.copyfile(path, beside, follow_symlinks=False)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(target)


def _remove_epochs(folder: Path, epochs: set[int]) -> None:
    """Those of a rank-0 manifest first, so that no instant shows half a checkpoint as a whole one."""
    paths = sorted(folder.iterdir()) if epochs and folder.is_dir() else []
    doomed = [path for path in paths if (match := _NAME.fullmatch(path.name)) and int(match[1]) in epochs]
    for path in sorted(doomed, key=lambda path: not path.name.endswith(".rank-0.json")):
        if path.is_dir() and not path.is_symlink():
            remove_checkpoints(path)
        else:
            with suppress(OSError):
                path.unlink()


def _ray_folder(folder: Path, epoch: int) -> Path:
    return folder / f"ray-epoch-{epoch}"


def _file_name(epoch: int, rank: int, suffix: str = "pt") -> str:
    return f"epoch-{epoch:06d}.rank-{rank}.{suffix}"


def _sync_folder(folder: Path) -> None:
    """What was linked is on the disk before the ledger says so."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
