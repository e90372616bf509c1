"""Makes a running sweep known to other tools: its trials' logs to Ray's dashboard, its metrics to Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpsearch.cluster.connect import Cluster
from hpsearch.ledger.lock import is_held
from hpsearch.links import IN_HOME, is_linked
from hpsearch.paths import replace_file, targets_path, trials_dir

LOGS_PREFIX = "sweep-"
"""Prefix of the sweep's name among Ray's own logs, some of which are folders too."""


@contextmanager
def advertise(cluster: Cluster, *, name: str, folder: Path) -> Iterator[None]:
    """Make a sweep known for the duration of the block; a file that can't be written is left out.

    Args:
        cluster: The Ray that runs the sweep; the logs are linked only in a Ray that hpsearch started.
        name: The sweep's name.
        folder: The sweep's folder.
    """
    targets = targets_path(folder.parent, name)
    is_refused = is_linked(targets.parent, parts=IN_HOME)
    with suppress(OSError):
        if cluster.owned and cluster.logs_dir is not None:
            link = cluster.logs_dir / f"{LOGS_PREFIX}{name}"
            link.symlink_to(trials_dir(folder).resolve(), target_is_directory=True)
    with suppress(OSError):
        if cluster.metrics_address is not None and not is_refused:
            _write_targets(targets, cluster.metrics_address)
            _remove_stale(targets)
    try:
        yield
    finally:
        with suppress(OSError):
            if not is_refused:
                targets.unlink(missing_ok=True)


def _write_targets(path: Path, address: str) -> None:
    """Write the file in one step, since Prometheus reads it whenever it changes."""
    path.parent.mkdir(exist_ok=True)
    replace_file(path, json.dumps([{"targets": [address], "labels": {}}]))


def _remove_stale(own: Path) -> None:
    """Remove the files of sweeps that were killed."""
    for path in own.parent.glob("*.json"):
        if path != own and not is_held(own.parents[1] / path.stem):
            path.unlink(missing_ok=True)
