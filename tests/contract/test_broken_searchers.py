"""What every search method promises when its library raises: points are drawn at random, and the sweep continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hpsearch.search import Outcome, Searcher, make_searcher
from hpsearch.space.space import Point
from hpsearch.spec.sweep import SAMPLERS, Sweep

METHODS = [(method, sampler) for method, samplers in SAMPLERS.items() for sampler in samplers or (None,)]
HOOKS = ["_propose", "_begin", "_learn", "_forget"]
FINITE = {"a": {"values": [True, 1, [1]]}, "b": {"min": 0, "max": 6, "step": 3}, "c": 0.5}
NUM_FINITE = 9


def searcher(method: str, sampler: str | None, parameters: dict[str, Any], **keys: Any) -> Searcher:
    tree = {"method": method, "metric": {"name": "loss", "goal": "minimize"}, "parameters": parameters, **keys}
    return make_searcher(Sweep.from_dict(tree if sampler is None else {**tree, "sampler": sampler}))


def broken(under_test: Searcher, hook: str, *, after: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let one hook raise from its call number `after` on; the list gets an entry whenever it does."""
    works: Callable[..., Any] = getattr(under_test, hook)
    calls: list[str] = []
    raised: list[str] = []

    def call(*args: Any) -> Any:
        calls.append(hook)
        if len(calls) <= after:
            return works(*args)
        raised.append(hook)
        raise RuntimeError("singular matrix\nof order 3")

    monkeypatch.setattr(under_test, hook, call)
    return raised


def run(under_test: Searcher, numbers: range) -> list[Point]:
    points = []
    for number in numbers:
        point = under_test.ask(number)
        assert point is not None
        points.append(point)
        if number % 3 == 0:
            under_test.drop(number)
        else:
            under_test.tell(Outcome(number=number, point=point, state="done", losses={1: float(number)}))
    return points


@pytest.mark.parametrize(("method", "sampler"), METHODS)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_method_that_raises_is_not_called_again_and_the_search_continues(
    method: str, sampler: str | None, hook: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    under_test = searcher(method, sampler, FINITE)
    raised = broken(under_test, hook, after=1, monkeypatch=monkeypatch)
    points = run(under_test, range(1, NUM_FINITE + 1))
    assert len({under_test.space.key(point) for point in points}) == NUM_FINITE, "each point once, as ever"
    assert under_test.ask(NUM_FINITE + 1) is None
    assert len(raised) == 1, "it is not called again"
    assert capsys.readouterr().err.count("RuntimeError: singular matrix") == 1, "one traceback, for the log"
    when = "when it was asked for trial 2" if hook == "_propose" else "when it learned of trial "
    assert (under_test.failure or "").startswith(f"the search method raised RuntimeError: singular matrix ({when}")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_method_that_raises_from_the_start_leaves_initial_points_and_constraints_as_they_are(
    hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
    keys = {"constraints": ["x + y < 1"], "initial_points": [{"x": 0.25, "y": 0.5}, {"x": 0.125}]}
    under_test = searcher("optuna", "tpe", parameters, **keys)
    broken(under_test, hook, after=0, monkeypatch=monkeypatch)
    points = run(under_test, range(1, 30))
    assert points[0] == {"x": 0.25, "y": 0.5}
    assert points[1]["x"] == 0.125
    assert all(point["x"] + point["y"] < 1 for point in points)


def test_random_points_in_place_of_a_grid_are_points_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    under_test = searcher("grid", None, {"lr": {"min": 1e-3, "max": 1e-1, "log": True, "count": 5}})
    broken(under_test, "_propose", after=1, monkeypatch=monkeypatch)
    lr: Any = under_test.space.domains["lr"]
    assert sorted(point["lr"] for point in run(under_test, range(1, 6))) == list(lr.grid())
    assert under_test.ask(6) is None


def test_a_method_that_is_well_has_no_failure() -> None:
    under_test = searcher("optuna", "tpe", FINITE)
    run(under_test, range(1, NUM_FINITE + 1))
    assert under_test.failure is None


def test_the_same_seed_repeats_the_random_points_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library raises again at the same place when the ledger is replayed, or is not asked at all."""
    parameters = {"x": {"min": 0.0, "max": 1.0}}
    unbroken, replayed = (searcher("optuna", "tpe", parameters, seed=3) for _ in range(2))
    for each in (unbroken, replayed):
        broken(each, "_learn", after=4, monkeypatch=monkeypatch)
    for number, point in enumerate(run(unbroken, range(1, 12)), start=1):
        replayed.adopt(number, point)
        if number % 3 == 0:
            replayed.drop(number)
        else:
            replayed.tell(Outcome(number=number, point=point, state="done", losses={1: float(number)}))
    assert [unbroken.ask(number) for number in (12, 13)] == [replayed.ask(number) for number in (12, 13)]
