"""Checkpoints as ranks write them, of a few bytes and without torch."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

NAME = re.compile(r"epoch-(\d{6,})\.rank-(\d+)\.(pt|json)")


def write_checkpoint(
    folder: Path, epoch: int, content: bytes = b"x", *, ranks: int = 1, previous: int | None = None
) -> None:
    """What `ranks` ranks write after an epoch: each its file, then its manifest; then they remove all but two.

    Args:
        folder: Made if needed.
        epoch: Epochs that are done.
        content: Of each rank's file.
        ranks: Ranks of the trial.
        previous: Epoch of the other one that stays, 0 for none; None for all to stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        path = folder / f"epoch-{epoch:06d}.rank-{rank}.pt"
        about = {"world_size": ranks, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for each, written in ((path, content), (path.with_suffix(".json"), json.dumps(about).encode())):
            beside = each.with_name(f"{each.name}.tmp")
            beside.write_bytes(written)
            beside.rename(each)
    for path in sorted(folder.iterdir()) if previous is not None else []:
        if (match := NAME.fullmatch(path.name)) and int(match[1]) not in (epoch, previous):
            path.unlink()


def epochs_in(folder: Path) -> list[int]:
    """Epochs whose files are whole, as a reader finds who knows the format alone."""
    found: dict[int, dict[int, Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = NAME.fullmatch(path.name)
        if match and match[3] == "json":
            found.setdefault(int(match[1]), {})[int(match[2])] = path
    return sorted(epoch for epoch, manifests in found.items() if _is_whole(manifests))


def _is_whole(manifests: dict[int, Path]) -> bool:
    told = {rank: json.loads(path.read_text()) for rank, path in manifests.items()}
    return 0 in told and all(
        rank in told and _is_what_was_written(manifests[rank].with_suffix(".pt"), told[rank])
        for rank in range(told[0]["world_size"])
    )


def _is_what_was_written(path: Path, about: dict[str, object]) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == about["sha256"]
