"""Reads priors from a CSV file: a sweep's `trials.csv`, or any table with the parameters and the metric as columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from hpsearch.errors import Problem, SpecError, is_config_fault
from hpsearch.ledger.records import ACTIVE_STATES, COMPLETE_STATES
from hpsearch.priors.mapping import EarlierTrial, finite_number, value_of_cell
from hpsearch.space.space import Domain, Space
from hpsearch.spec.parts import Metric

Row = Mapping[str, str]
"""Column to cell."""
Parameters = Mapping[str, tuple[str, Domain]]
"""Dotted name of a parameter to its column and its domain."""

MAX_BYTES = 256 * 2**20
"""Size of the largest file that is read."""
FORMULA_STARTS = ("'=", "'+", "'-", "'@")
"""Beginnings of cells to which our own CSV files add a quote, so that spreadsheets don't read them as formulas."""


def read_table(path: Path, *, space: Space, metric: Metric) -> list[EarlierTrial]:
    """Read the trials in a table, in its order; rows without an outcome to learn from are left out.

    Args:
        path: A CSV file with a header. Its columns `state`, `cause` and `epochs_trained` mean what they mean in our
            own tables; without them every row is a finished trial.
        space: A parameter's column is `param.NAME` or its dotted name.
        metric: Its column is the first that exists of `best_NAME`, `NAME` and `last_NAME`.

    Raises:
        SpecError: The file can't be read, or has no column of the metric or of any parameter.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _wrong(f"{path} is larger than {MAX_BYTES // 2**20} MiB. Remove rows that are not needed.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [_plain(name) for name in reader.fieldnames or ()]
            objective = _objective(path, columns, metric.name)
            names = _parameters(path, columns, space)
            rows = [dict(zip(columns, map(_plain, row.values()), strict=False)) for row in reader if None not in row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise _wrong(f"{path} can't be read: {error}.") from error
    found = (_earlier(row, source=path.name, objective=objective, names=names, sign=metric.sign) for row in rows)
    return [each for each in found if each is not None]


def _earlier(row: Row, *, source: str, objective: str, names: Parameters, sign: int) -> EarlierTrial | None:
    """The trial of a row; None if it was active, or failed for a reason other than its configuration."""
    point = {name: value_of_cell(domain, row[column]) for name, (column, domain) in names.items() if row[column]}
    state = row.get("state") or "done"
    value = finite_number(row[objective])
    if state in ACTIVE_STATES or (state == "failed" and not is_config_fault(row.get("cause"))):
        return None
    if state == "failed" or value is None:
        is_bad = state == "failed" or row[objective]  # a text such as nan or inf; an empty cell says nothing
        return EarlierTrial(source=source, point=point, state="infeasible", losses={}) if is_bad else None
    epoch = int(finite_number(row.get("epochs_trained", "")) or 1)
    is_whole = state in COMPLETE_STATES or "state" not in row
    return EarlierTrial(
        source=source, point=point, state="done" if is_whole else "stopped", losses={max(epoch, 1): sign * value}
    )


def _objective(path: Path, columns: list[str], metric: str) -> str:
    wanted = (f"best_{metric}", metric, f"last_{metric}")
    found = next((name for name in wanted if name in columns), None)
    if found is None:
        raise _wrong(f"{path} has no column {' or '.join(wanted)}. Its columns: {', '.join(columns)[:300]}.")
    return found


def _parameters(path: Path, columns: list[str], space: Space) -> dict[str, tuple[str, Domain]]:
    found = {
        name: (next(column for column in (f"param.{name}", name) if column in columns), domain)
        for name, domain in space.domains.items()
        if name in columns or f"param.{name}" in columns
    }
    if not found.keys() & space.searched.keys():
        raise _wrong(f"{path} has no column of any searched parameter. Wanted: {', '.join(space.searched)[:300]}.")
    return found


def _plain(cell: str | None) -> str:
    text = cell or ""
    return text[1:] if text.startswith(FORMULA_STARTS) else text


def _wrong(message: str) -> SpecError:
    return SpecError([Problem(where=("prior",), message=message)])


def looks_like_table(prior: str) -> bool:
    """Whether a `prior` names a file rather than a sweep."""
    return prior.endswith(".csv") or "/" in prior


def find_table(prior: str, spec_dir: Path | None) -> Path:
    """The file that a `prior` names, relative to the working directory or else to the spec's folder.

    Raises:
        SpecError: There is no such file.
    """
    tried = list(dict.fromkeys(folder / prior for folder in (Path(), spec_dir) if folder is not None))
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        looked = " nor ".join(map(str, tried))
        raise _wrong(f"there is no file {looked}. Write the path of a CSV file, or the name of a sweep.")
    return found
