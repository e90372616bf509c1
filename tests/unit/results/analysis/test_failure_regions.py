"""Regions of the space where configurations fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from hpsearch.ledger.records import TrialRecord
from hpsearch.results.analysis.failure_regions import failure_region_lines


def trial(number: int, point: dict[str, Any], cause: str | None) -> TrialRecord:
    state = "done" if cause is None else "failed"
    values: dict[str, Any] = {"number": number, "point": point, "state": state, "cause": cause}
    empty: dict[str, Any] = {field.name: None for field in fields(TrialRecord)}
    return TrialRecord(**{**empty, **values})


def records(points: list[dict[str, Any]], cause_of: Callable[[dict[str, Any]], str | None]) -> list[TrialRecord]:
    return [trial(number, point, cause_of(point)) for number, point in enumerate(points, start=1)]


def drawn(num: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {
            "batch_size": rng.choice([64, 128, 256, 384, 512]),
            "lr": 10 ** rng.uniform(-4, 0),
            "optimizer": rng.choice(["sgd", "adamw"]),
        }
        for _ in range(num)
    ]


def test_a_region_of_one_parameter_is_reported_with_its_counts_and_cause() -> None:
    points = drawn(40)
    lines = failure_region_lines(records(points, lambda p: "oom_gpu" if p["batch_size"] >= 384 else None))
    num = sum(point["batch_size"] >= 384 for point in points)
    assert lines == [f"batch_size >= 384: {num} of {num} failed (oom_gpu)"]


def test_a_choice_that_fails_with_a_range_is_reported_as_both() -> None:
    points = drawn(60)
    lines = failure_region_lines(
        records(points, lambda p: "diverged" if p["optimizer"] == "sgd" and p["lr"] > 0.01 else None)
    )
    assert len(lines) == 1
    assert 'optimizer = "sgd"' in lines[0] and "lr >= 0.01" in lines[0] and lines[0].endswith("failed (diverged)")


def test_two_causes_are_two_regions() -> None:
    def cause(point: dict[str, Any]) -> str | None:
        return "oom_gpu" if point["batch_size"] == 512 else "diverged" if point["lr"] > 0.1 else None

    lines = failure_region_lines(records(drawn(80), cause))
    assert [line.split(":")[0].split()[0] for line in lines] == ["lr", "batch_size"]


def test_failures_by_chance_and_of_unknown_causes_make_no_region() -> None:
    rng = random.Random(1)
    assert failure_region_lines(records(drawn(60), lambda p: "oom_gpu" if rng.random() < 0.2 else None)) == []
    assert failure_region_lines(records(drawn(60), lambda p: "killed" if p["lr"] > 0.1 else None)) == []
    assert failure_region_lines(records(drawn(60), lambda p: None)) == []
    assert failure_region_lines([]) == []


def test_where_everything_fails_there_is_no_region() -> None:
    assert failure_region_lines(records(drawn(20), lambda p: "bad_metric")) == []
