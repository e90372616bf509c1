"""Reads what the tables and `sweep.yaml` in a sweep's folder have, to rebuild a ledger that lost it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import SpecError
from hpsearch.ledger.records import ACTIVE_STATES
from hpsearch.ledger.sweep_copy import Columns, SweepCopy
from hpsearch.paths import history_path, resolved_spec_path, trials_parquet_path
from hpsearch.priors.mapping import Misfit, map_point, value_of_cell
from hpsearch.results import columns as c
from hpsearch.results import rows as r
from hpsearch.spec.sweep import Sweep
from hpsearch.spec.yaml_reader import read_yaml

_AS_IN_LEDGER = (
    "state",
    "cause",
    "epochs_trained",
    "best_epoch",
    "started_at",
    "duration_s",
    "gpu_peak_gib",
    "host_peak_gib",
    "seed",
    "attempts",
    "reused_from",
    "code",
)
"""Columns of the table of trials that are columns of the ledger."""
_OF_ALL = ("point", "state", "started_at", "seed", "attempts", "reused_from", "code")
"""Those of a trial that runs."""
_CHECKPOINT = re.compile(r"epoch-(\d+)")


def copy_of_tables(folder: Path, spec: Mapping[str, Any] | None) -> SweepCopy:
    """What `sweep.yaml`, `trials.parquet` and `history.parquet` have of a sweep.

    Tables lack a trial's evidence, its fingerprint, when it ended, and the order in which reports arrived. A trial is
    left out where its parameters are not in the sweep's space, since a table may have another type for a value.

    Args:
        folder: The sweep's folder.
        spec: The sweep's spec; None to read it from `sweep.yaml`.

    Returns:
        A copy with what could be read, which may be nothing.
    """
    copy = SweepCopy()
    try:
        sweep = _sweep(folder) if spec is None else Sweep.from_stored(spec)
    except SpecError:
        sweep = None
    if sweep is None:
        return copy
    copy.sweep = {"spec": json.dumps(sweep.to_dict())} if spec is None else {}
    for row in _rows(trials_parquet_path(folder)):
        _add_trial(copy, row, sweep)
    for row in _rows(history_path(folder)):
        if row.get("trial") in copy.trials:
            _add_report(copy, row)
    return copy


def _sweep(folder: Path) -> Sweep | None:
    """The sweep of `sweep.yaml`, whether or not its trainable can be found; None if it can't be read."""
    path = resolved_spec_path(folder)
    if path.is_symlink():
        return None
    try:
        spec = read_yaml(path.read_text(encoding="utf-8"), file=str(path), problems=[])
        return Sweep.from_stored(spec.value) if spec is not None and isinstance(spec.value, dict) else None
    except (SpecError, OSError, ValueError, TypeError, AttributeError):
        return None


def _rows(path: Path) -> Iterable[Columns]:
    """The rows of a table, without missing values; none if it can't be read."""
    if not path.is_file() or path.is_symlink():
        return []
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_table(path).to_pylist()
    except Exception:  # a damaged file raises whatever its reader stumbles over
        return []
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def _add_trial(copy: SweepCopy, row: Columns, sweep: Sweep) -> None:
    taken = {column.name for column in (*c.BEFORE, *c.AFTER)} | {r.EPOCHS_TRAINED, r.BEST_EPOCH}
    cells = {_parameter(name, sweep): value for name, value in row.items() if name not in taken}
    point = {name: value_of_cell(sweep.space.domains.get(name), value) for name, value in cells.items()}
    try:
        known = map_point(point, sweep.space)
    except Misfit:
        return
    values = {name: row[name] for name in _AS_IN_LEDGER if name in row}
    best = row.get(f"best_{sweep.metric.name}")
    metrics = {name for name in row if name.startswith("last_") and name not in sweep.space.domains}
    last = {name.removeprefix("last_"): row[name] for name in metrics}
    epoch = _CHECKPOINT.search(str(row.get("checkpoint", "")))
    values |= {"point": json.dumps(known), "best_value": best, "last_metrics": json.dumps(last)}
    values["checkpoint_epoch"] = int(epoch[1]) if epoch else None
    if values.get("state") in ACTIVE_STATES:  # the table has what follows from its reports, the ledger has not
        values = {name: value for name, value in values.items() if name in _OF_ALL}
    copy.trials[row.get("trial", 0)] = values


def _parameter(column: str, sweep: Sweep) -> str:
    """The parameter of a column, which has a prefix where a fixed column has the parameter's name."""
    name = column
    while name not in sweep.space.domains and name.startswith("param."):
        name = name.removeprefix("param.")
    return name


def _add_report(copy: SweepCopy, row: Columns) -> None:
    metrics = {_metric(name): value for name, value in row.items() if name not in r.HISTORY}
    copy.add_report(row["trial"], row.get("epoch", 0), json.dumps(metrics), row.get("elapsed_s", ""))


def _metric(column: str) -> str:
    """The metric of a column, which has a prefix where a fixed column has the metric's name."""
    name = column.removeprefix("metric.")
    return name if name in r.HISTORY else column
