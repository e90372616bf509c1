"""A spec is translated once and its space is parsed once, for each verb that reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli.app import app
from hpsearch.spec import sweep as spec_sweep
from hpsearch.spec.sweep import Sweep, check_spec

TREE = {"metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


@pytest.fixture
def calls(monkeypatch):
    """Number of calls of the translation and of the parser of spaces, by name."""
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    for name in ("translate", "parse_space"):
        monkeypatch.setattr(spec_sweep, name, counted(name, getattr(spec_sweep, name)))
    return counts


@pytest.mark.parametrize("arguments", [["validate", "mlp"], ["sweep", "mlp", "--dry-run"], ["validate", "nas"]])
def test_a_verb_translates_and_parses_a_spec_once(calls, arguments):
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert calls == {"translate": 1, "parse_space": 1}


def test_the_space_of_a_checked_sweep_is_the_one_that_was_checked(calls):
    sweep = Sweep.from_dict(TREE)
    assert sweep.with_values(name="other").continuing(sweep).space is sweep.space
    assert calls["parse_space"] == 1


def test_a_copy_with_other_parameters_or_constraints_has_another_space():
    sweep = Sweep.from_dict(TREE)
    assert list(sweep.with_values(parameters={"y": 1}).space.domains) == ["y"]
    assert [each.text for each in sweep.with_values(constraints=["x < 1"]).space.constraints] == ["x < 1"]


def test_a_loaded_spec_has_the_tree_as_it_was_written_and_where_each_key_was():
    tree = {**TREE, "run_cap": 5}
    loaded = check_spec(tree)
    assert loaded.written is tree
    assert loaded.translation.written(("limits", "trials")) == ("run_cap",)
    assert loaded.sweep is not None
    assert loaded.sweep.limits.trials == 5


def test_a_spec_with_mistakes_has_problems_and_no_sweep():
    loaded = check_spec({**TREE, "run_cap": -1})
    assert loaded.sweep is None
    assert [problem.where for problem in loaded.problems] == [("run_cap",)]
