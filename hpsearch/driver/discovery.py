"""What others find of a running sweep: the logs of its trials in Ray's dashboard, its address for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpsearch.cluster.connect import Cluster
from hpsearch.ledger.lock import is_held
from hpsearch.paths import replace_file, targets_path, trials_dir

LOGS_PREFIX = "sweep-"
"""Before the sweep's name among Ray's own logs, some of which are folders too."""


@contextmanager
def advertise(cluster: Cluster, *, name: str, folder: Path) -> Iterator[None]:
    """Have a sweep found for the time of the block; where something can't be written, the sweep goes on without it.

    Args:
        cluster: A Ray that is not ours gets no logs: its owner's dashboard shows what its owner put there.
        name: The sweep's name.
        folder: Its files.
    """
    targets = targets_path(folder.parent, name)
    with suppress(OSError):
        if cluster.owned and cluster.logs_dir is not None:
            link = cluster.logs_dir / f"{LOGS_PREFIX}{name}"
            link.symlink_to(trials_dir(folder).resolve(), target_is_directory=True)
    with suppress(OSError):
        if cluster.metrics_address is not None and not targets.parent.is_symlink():
            _write_targets(targets, cluster.metrics_address)
            _remove_stale(targets)
    try:
        yield
    finally:
        with suppress(OSError):
            targets.unlink(missing_ok=True)


def _write_targets(path: Path, address: str) -> None:
    """In one step, since Prometheus reads it whenever it changes."""
    path.parent.mkdir(exist_ok=True)
    replace_file(path, json.dumps([{"targets": [address], "labels": {}}]))


def _remove_stale(own: Path) -> None:
    """Files of sweeps that were killed."""
    for path in own.parent.glob("*.json"):
        if path != own and not is_held(own.parents[1] / path.stem):
            path.unlink(missing_ok=True)
