"""After a restart a searcher has learned what it had learned before, so that it proposes the same."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.search import Searcher, make_searcher
from hpsearch.stopping import make_stopping_rule
from tests.support import curves, timed
from tests.support.clock import Clock, TimeOfDay

NUMBERS = {
    "lr": {"min": 1e-4, "max": 1.0, "log": True},
    "width": {"min": 16, "max": 128},
    "batch_size": {"min": 16, "max": 256},
    "optimizer": "sgd",
}
"""What CMA-ES models."""


def restarted(engine: Engine) -> Searcher:
    """A searcher to which all was replayed that the ledger has of an engine's sweep."""
    engine._ledger.flush()
    searcher, ledger, record = make_searcher(engine.sweep), engine._ledger, engine.record
    rule = make_stopping_rule(engine.sweep, can_pause=True, is_random=searcher.is_random)
    parts = EngineParts(sweep=engine.sweep, searcher=searcher, rule=rule, ledger=ledger, record=record)
    Engine.resumed(parts, Past.read(ledger, record))
    return searcher


@pytest.fixture
def time_of_day(monkeypatch: pytest.MonkeyPatch) -> TimeOfDay:
    """The time of day, which the test moves."""
    moved = TimeOfDay()
    monkeypatch.setattr("hpsearch.time_of_day.time", moved)
    return moved


@pytest.mark.parametrize("steps", [(), (-1, -1), (1, -1), (-1, 1)], ids=str)
@pytest.mark.parametrize(
    ("method", "sampler", "rule", "first", "last"),
    [
        ("bayes", None, "asha", 50, 90),  # the model begins at about 50
        ("bayes", "cmaes", "none", 2, 30),
        ("bayes", None, "none", 2, 30),
        ("hyperopt", None, "asha", 2, 40),
        ("controller", None, "none", 2, 30),
    ],
)
def test_whenever_a_driver_dies_the_next_one_proposes_what_it_would_have(
    tmp_path: Path,
    *,
    method: str,
    sampler: str | None,
    rule: str,
    first: int,
    last: int,
    steps: tuple[int, ...],
    time_of_day: TimeOfDay,
) -> None:
    """Trials that were promoted and run at that moment are reported as they were when they were paused.

    The order of events is right although the time of day is moved by an hour, once or twice.
    """
    unbroken, again, still_to_come = {}, {}, list(steps)

    def compare(engine: Engine, clock: Clock) -> None:
        number = len(engine.trials) + 1
        if still_to_come and number > (last // 3) * (len(steps) - len(still_to_come) + 1):
            time_of_day.move(still_to_come.pop(0), files_below=tmp_path)
        if first <= number <= last and number not in again:
            unbroken[number] = copy.deepcopy(engine._searcher).ask(number)
            again[number] = restarted(engine).ask(number)

    limits = {"trials": last, "epochs": 27 if rule == "asha" else 2, "concurrent": 4}
    timed.run(
        tmp_path,
        on_report=compare,
        method=method,
        early_terminate={"type": rule},
        parameters=NUMBERS if sampler == "cmaes" else curves.SPEC["parameters"],
        limits=limits,
        **({} if sampler is None else {"sampler": sampler}),
    )
    assert unbroken == again
    assert len(again) > 20
    assert not still_to_come
