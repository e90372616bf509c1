"""Fingerprints of trials: equal for trials that would train the same thing, with the code and data that go into them.

A trial whose fingerprint the ledger knows is reused instead of trained. In doubt the fingerprint differs, or there is
none: training twice costs time, a wrong result costs trust.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpsearch.plain import canonical
from hpsearch.space.space import Point
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable import code_files
from hpsearch.trainable.code_files import read_code
from hpsearch.trainable.functions import UNKNOWN
from hpsearch.trainable.locate import TrainableSource
from hpsearch.version import __version__

MAX_DATA_FILES = 1_000_000
"""With more files below `data.root`, trials get no fingerprint and nothing is reused."""
Code = code_files.Code
"""File or function to hash; see `code_files.Code`."""


def code_of(trainable: TrainableSource | Callable[..., Any]) -> Code | None:
    """The source code of a trainable: the user's own files, or its own functions; see `code_files.read_code`.

    Returns:
        None where the source can't be read.
    """
    return read_code(trainable).code


def data_hash(data: Mapping[str, Any]) -> str | None:
    """Hash of the spec's `data`, and of the names and sizes of the files below its `root`.

    Args:
        data: The spec's `data`.

    Returns:
        SHA-256 in hexadecimal digits; None if there are more than MAX_DATA_FILES files.
    """
    digest = hashlib.sha256(canonical(dict(data)).encode())
    root = data.get("root")
    if root is not None:
        for count, line in enumerate(_names_and_sizes(Path(root))):
            if count >= MAX_DATA_FILES:
                return None
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def trial_fingerprint(point: Point, *, sweep: Sweep, code: Code | None, data: str | None) -> str | None:
    """Fingerprint of a trial: SHA-256 of all that decides what it trains.

    The number of epochs is left out: the epochs of a longer trial are reused for a shorter one.

    Args:
        point: Dotted name to value.
        sweep: Its seed, precision, parallelism, workers and metric are part of the fingerprint.
        code: As `code_of` returns it.
        data: As `data_hash` returns it.

    Returns:
        Hexadecimal digits; None if the code or the data can't be known.
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
        "code": sorted(code.values()),  # the contents of the files, not their paths: another checkout is the same code
        "data": data,
        "hpsearch": __version__,
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def code_hash(code: Code) -> str:
    """SHA-256 of the code, in hexadecimal digits; the same wherever its files are."""
    return hashlib.sha256(canonical(sorted(code.values())).encode()).hexdigest()


def changed_files(old: Code, new: Code) -> list[str]:
    """Texts that say which files and functions changed, are new or are gone; empty if the contents are the same.

    Example:
        >>> changed_files({"train.py": "a1", "net.py": "b2"}, {"train.py": "c3"})
        ['train.py changed', 'net.py is gone']
    """
    if sorted(old.values()) == sorted(new.values()):
        return []  # the same files elsewhere, or seen from another working directory
    verbs = {(True, False): "is gone", (False, True): "is new", (True, True): "changed"}
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} {verbs[name in old, name in new]}" for name in names]


def _names_and_sizes(root: Path) -> Iterator[str]:
    if root.is_file():
        yield f"{root.name} {root.stat().st_size}\n"
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder) / name
            size = path.stat().st_size if path.exists() else -1
            yield f"{path.relative_to(root)} {size}\n"
