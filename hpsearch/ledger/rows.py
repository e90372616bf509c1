"""Rows of the ledger's tables as records: what is JSON there is decoded here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, RowMapping

from hpsearch.errors import LedgerError
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord


def sweep_record(row: RowMapping) -> SweepRecord:
    """A sweep; its files are below its own name, whatever the row says."""
    if row["folder"] != row["name"] or Path(row["name"]).name != row["name"] or row["name"] == "..":
        raise LedgerError(f"sweep {row['name']!r} has the folder {row['folder']!r}: somebody has edited this ledger.")
    code = None if row["code"] is None else json.loads(row["code"])
    return SweepRecord(**{**row, "spec": json.loads(row["spec"]), "code": code})


def trial_records(rows: Sequence[RowMapping]) -> list[TrialRecord]:
    """Trials, in the order of the rows."""
    names = tuple(TrialRecord.__dataclass_fields__)
    points = decode_all(row["point"] for row in rows)
    metrics = decode_all(row["last_metrics"] or "{}" for row in rows)
    return [
        TrialRecord(**{name: row[name] for name in names} | {"point": point, "last_metrics": last})
        for row, point, last in zip(rows, points, metrics, strict=True)
    ]


def report_records(rows: Sequence[Row[int, int, str, float]]) -> list[ReportRecord]:
    """Reports, in the order of the rows: trial's number, epoch, metrics, elapsed_s."""
    decoded = decode_all(row[2] for row in rows)
    return [
        ReportRecord(number=number, epoch=epoch, metrics=metrics, elapsed_s=elapsed_s)
        for (number, epoch, _, elapsed_s), metrics in zip(rows, decoded, strict=True)
    ]


def decode_all(texts: Iterable[str]) -> list[Any]:
    """JSON texts, decoded as one: a large sweep has 100,000 of them, and a call each costs more than they do."""
    return list(json.loads(f"[{','.join(texts)}]"))
