"""What makes two trials the same: their fingerprint, and the code and data that go into it.

Two trials with one fingerprint would train the same thing, so the second is answered from the ledger. In doubt the
fingerprint differs, or there is none: training twice costs time, a wrong answer costs trust.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpsearch.space.space import Point, canonical
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable import code_files
from hpsearch.trainable.code_files import read_code
from hpsearch.trainable.functions import UNKNOWN
from hpsearch.trainable.locate import TrainableSource
from hpsearch.version import __version__

MAX_DATA_FILES = 1_000_000
"""More files than that below `data.root` are not counted, and nothing is reused."""
Code = code_files.Code
"""What a trainable is made of: see there."""


def code_of(trainable: TrainableSource | Callable[..., Any]) -> Code | None:
    """The source that a trainable is made of: the user's own files, or its own functions, see `code_files.read_code`.

    Returns:
        None where the source can't be read.
    """
    return read_code(trainable).code


def data_hash(data: Mapping[str, Any]) -> str | None:
    """The spec's `data`, and the names and sizes of the files below its `root`; None where there are too many."""
    digest = hashlib.sha256(canonical(dict(data)).encode())
    root = data.get("root")
    if root is not None:
        for count, line in enumerate(_names_and_sizes(Path(root))):
            if count >= MAX_DATA_FILES:
                return None
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def trial_fingerprint(point: Point, *, sweep: Sweep, code: Code | None, data: str | None) -> str | None:
    """One text for all trials that would train the same thing; None if that can't be known.

    The length of the training is left out: a trial that went further answers for one that shall go less far.
    """
    if code is None or data is None or UNKNOWN in code.values():
        return None
    parts = {
        "point": point,
        "seed": sweep.seed,
        "precision": sweep.precision,
        "parallel": sweep.parallel,
        "workers": sweep.resources.workers,
        "metric": sweep.metric.name,
        "code": sorted(
            code.values()
        ),  # what stands in the files, not where they lie: another checkout is the same code
        "data": data,
        "hpsearch": __version__,
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def code_hash(code: Code) -> str:
    """One text for the same code, wherever its files lie."""
    return hashlib.sha256(canonical(sorted(code.values())).encode()).hexdigest()


def changed_files(old: Code, new: Code) -> list[str]:
    """Files and functions that are not what they were, in words."""
    if sorted(old.values()) == sorted(new.values()):
        return []  # the same files in another place, or seen from another working directory
    words = {(True, False): "is gone", (False, True): "is new", (True, True): "changed"}
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} {words[name in old, name in new]}" for name in names]


def _names_and_sizes(root: Path) -> Iterator[str]:
    if root.is_file():
        yield f"{root.name} {root.stat().st_size}\n"
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder) / name
            size = path.stat().st_size if path.exists() else -1
            yield f"{path.relative_to(root)} {size}\n"
