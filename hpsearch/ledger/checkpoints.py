"""The checkpoints of trials as files, without torch: which are complete, and how they are shared and removed.

`training/checkpoint.py` writes a checkpoint as two files for each rank, `epoch-000004.rank-0.pt` and a manifest beside
it; a Ray Tune function has a folder instead, `ray-epoch-4`. Here a checkpoint is complete when all its files are there
with the sizes that the manifests say; their contents are checked when a trial loads them. Where the folder of a trial's
checkpoints, or one above it up to the home folder, is a symbolic link, the trial has none, and none are removed.
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

from hpsearch.links import IN_TRIAL, is_linked, make_folder, opened_folder

KEPT = 2
"""Checkpoints that a trial keeps while it runs: if the newest is damaged, it resumes from the one before."""
_NAME = re.compile(r"(?:ray-)?epoch-(\d+)(?:\.rank-\d+\.(?:pt|json)(?:\.tmp)?)?")
"""Names of the files and folders of a checkpoint, and of half-written ones; the group is the epoch."""
_MAX_MANIFEST_BYTES = 4096
"""Bytes of a manifest that are read."""


def complete_epochs(folder: Path) -> list[int]:
    """Epochs whose checkpoint in `folder` is complete, earliest first; empty without a folder."""
    return sorted(epoch for epoch in _named_epochs(folder) if checkpoint_path(folder, epoch) is not None)


def newest_epoch(folder: Path, *, at_most: int) -> int | None:
    """The last epoch with a complete checkpoint, none later than `at_most`; None without any."""
    return max((epoch for epoch in complete_epochs(folder) if epoch <= at_most), default=None)


def checkpoint_path(folder: Path, epoch: int) -> Path | None:
    """The complete checkpoint of an epoch: the file of rank 0, or the folder of a Ray Tune function.

    The files of other ranks are beside it. None if there is no complete checkpoint.
    """
    if is_linked(folder, parts=IN_TRIAL):
        return None
    if _parts(folder, epoch):
        return folder / _file_name(epoch, 0)
    path = _ray_folder(folder, epoch)
    return path if _is_filled(path) else None


def drop_later(folder: Path, epoch: int) -> None:
    """Remove the checkpoints of epochs after `epoch`, complete or not: the ledger has no reports of those epochs."""
    _remove_epochs(folder, {each for each in _named_epochs(folder) if each > epoch})


def share_checkpoints(source: Path, target: Path, *, epochs: Iterable[int]) -> int | None:
    """Give a trial that does not run checkpoints of another trial, beside its own.

    They are linked, which takes no disk space, or copied where the file system has no hard links. At every instant each
    is complete or absent: those that are removed from `source` meanwhile, or for which the disk has no space, are left
    out. The newest KEPT of all are kept.

    Args:
        source: Folder of the other trial's checkpoints; it may be removed at any time.
        target: Folder of the trial's own checkpoints; made if needed.
        epochs: Epochs to share, none of them complete in `target`.

    Returns:
        The newest of these epochs that is complete in `target` now; None if none is.
    """
    shared = [epoch for epoch in sorted(epochs) if _share(source, target, epoch)]
    if not shared:
        return None
    _remove_epochs(target, _named_epochs(target) - set(complete_epochs(target)[-KEPT:]))
    _sync_folder(target)
    return shared[-1]


def remove_checkpoints(folder: Path) -> None:
    """Remove a folder of checkpoints; a removal that is cut short leaves none that looks complete."""
    with suppress(OSError), opened_folder(folder.parent, parts=IN_TRIAL - 1) as trial_dir:
        _remove_folder(folder.name, trial_dir)


def _remove_folder(name: str, parent: int) -> None:
    """Remove a folder in the opened folder `parent`; a link of that name stays."""
    gone = f".{name}.gone"
    shutil.rmtree(gone, ignore_errors=True, dir_fd=parent)  # left by a removal that was cut short
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        return
    try:
        os.rename(name, gone, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        gone = name
    shutil.rmtree(gone, ignore_errors=True, dir_fd=parent)


def _named_epochs(folder: Path) -> set[int]:
    """Epochs that the names of files and folders mention, complete or not."""
    try:
        with opened_folder(folder, parts=IN_TRIAL) as opened:
            names = os.listdir(opened)  # noqa: PTH208 - of a descriptor
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
    """(Number of ranks, size in bytes of the file beside it); None if it can't be read as a manifest."""
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
    """Bytes of a regular file; None if there is no such file."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _is_filled(path: Path) -> bool:
    """Whether it is a folder that is not empty: a removal that was cut short may leave an empty one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode) and any(path.iterdir())
    except OSError:
        return False


def _share(source: Path, target: Path, epoch: int) -> bool:
    """Link the checkpoint of an epoch; whether it is complete in both folders now."""
    if is_linked(source, parts=IN_TRIAL):
        return False
    parts, folder = _parts(source, epoch), _ray_folder(source, epoch)
    if not parts and not _is_filled(folder):
        return False
    try:
        make_folder(target, parts=IN_TRIAL)
        _remove_epochs(target, {epoch})  # left by an attempt that was cut short
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
    """Link the files; the manifest of rank 0 comes last, since without it the rest is no checkpoint."""
    for path in sorted(parts[2:]) + parts[:2]:
        _link(path, target / path.name)


def _share_folder(source: Path, target: Path) -> None:
    """Link a folder beside `target` and rename it, if its source is still complete by then."""
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
    """Copy in one step, by a name that is removed with the checkpoint's other files if the copy is cut short."""
    beside = Path(f"{target}.tmp")
    shutil.copyfile(path, beside, follow_symlinks=False)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(target)


def _remove_epochs(folder: Path, epochs: set[int]) -> None:
    """Remove checkpoints, manifests of rank 0 first: at no instant does half a checkpoint look complete."""
    if not epochs:
        return
    with suppress(OSError), opened_folder(folder, parts=IN_TRIAL) as opened:
        names = sorted(os.listdir(opened))  # noqa: PTH208 - of a descriptor
        doomed = [name for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) in epochs]
        for name in sorted(doomed, key=lambda name: not name.endswith(".rank-0.json")):
            with suppress(OSError):
                _remove_folder(name, opened)
            with suppress(OSError):  # a file or a link
                os.unlink(name, dir_fd=opened)


def _ray_folder(folder: Path, epoch: int) -> Path:
    return folder / f"ray-epoch-{epoch}"


def _file_name(epoch: int, rank: int, suffix: str = "pt") -> str:
    return f"epoch-{epoch:06d}.rank-{rank}.{suffix}"


def _sync_folder(folder: Path) -> None:
    """Force the names of a folder to the disk, before the ledger says that they are there."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
