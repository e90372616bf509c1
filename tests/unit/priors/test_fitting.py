"""What of earlier outcomes has a place in a space, and in which words the rest is left out."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.priors.fitting import MAX_TOLD, MAX_TOLD_GP, Earlier, Misfit, fit, fitted
from hpsearch.space.space import Space
from hpsearch.spec.sweep import Sweep

PARAMETERS: dict[str, Any] = {
    "lr": {"min": 1e-4, "max": 1e-1, "log": True},
    "width": {"min": 16, "max": 64, "step": 16},
    "dropout": {"min": 0.1, "max": 0.5, "step": 0.1},
    "optimizer": {
        "name": {"values": ["sgd", "adamw"]},
        "momentum": {"min": 0.8, "max": 0.99, "when": {"optimizer.name": "sgd"}},
    },
    "layers": {"values": [[1, 2], 3]},
    "depth": 20,
    "twice": {"expr": "2 * width"},
}
POINT = {
    "lr": 0.01,
    "width": 32,
    "dropout": 0.3,
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "layers": [1, 2],
    "depth": 20,
    "twice": 64,
}


def sweep(**keys: Any) -> Sweep:
    return Sweep.from_dict({"metric": {"name": "loss", "goal": "minimize"}, "parameters": PARAMETERS, **keys})


def space(**keys: Any) -> Space:
    return sweep(**keys).space


def test_a_point_of_the_same_space_is_that_point():
    assert fitted(POINT, space()) == POINT


def test_what_the_space_does_not_have_is_dropped_and_constants_and_computed_ones_are_filled_in():
    without = {name: value for name, value in POINT.items() if name not in ("depth", "twice")}
    assert fitted({**without, "gone": 1}, space()) == POINT


def test_what_is_inactive_here_is_dropped():
    found = fitted({**POINT, "optimizer.name": "adamw"}, space())
    assert "optimizer.momentum" not in found and found["optimizer.name"] == "adamw"


def test_values_are_taken_in_the_kind_that_their_parameter_has():
    text = {name: str(value) for name, value in POINT.items()}
    assert fitted(text, space()) == POINT
    floats = fitted({**POINT, "width": 32.0, "depth": 20.0, "dropout": 0.30000000000000004}, space())
    assert (floats["width"], floats["depth"], floats["dropout"]) == (32, 20, 0.3)
    assert [type(floats[name]) for name in ("width", "depth")] == [int, int]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 0.5}, r"lr was not in 0.0001 .. 0.1 log"),
        ({"lr": "small"}, "lr was not in"),
        ({"lr": True}, "lr was not in"),
        ({"width": 40}, "width was not in 16 .. 64 step 16"),
        ({"width": 32.5}, "width was not in"),
        ({"optimizer.name": "lion"}, 'optimizer.name was not in "sgd" | "adamw"'),
        ({"depth": 32}, "depth was not in 20"),
        ({"optimizer.momentum": None}, "they have no optimizer.momentum"),
        ({"lr": None}, "they have no lr"),
        ({"twice": 65}, "twice was another than the one that is computed now"),
    ],
)
def test_what_does_not_fit_says_why(changes, words):
    point = {name: value for name, value in {**POINT, **changes}.items() if value is not None}
    with pytest.raises(Misfit) as caught:
        fitted(point, space())
    assert words in str(caught.value)


def test_a_broken_constraint_is_named():
    with pytest.raises(Misfit, match=r"they break the constraint 'width \* 2 <= 60'"):
        fitted(POINT, space(constraints=["width * 2 <= 60"]))


def earlier(source: str, loss: float, **changes: Any) -> Earlier:
    return Earlier(source=source, point={**POINT, **changes}, state="done", losses={1: loss})


def test_the_report_counts_sources_and_equal_reasons():
    prior = fit(
        [earlier("a", 1), earlier("b", 2), earlier("b", 3), earlier("a", 4, lr=1), earlier("a", 5, lr=2)], sweep()
    )
    assert [outcome.loss for outcome in prior.outcomes] == [1, 2, 3]
    assert str(prior) == "3 earlier trials of a (1), b (2); 2 left out: lr was not in 0.0001 .. 0.1 log"


def test_of_too_many_the_newest_are_told():
    prior = fit([earlier("a", loss) for loss in range(MAX_TOLD + 5)], sweep())
    assert len(prior.outcomes) == MAX_TOLD and prior.outcomes[0].loss == 5
    assert "5 left out: older than the newest 1000" in str(prior)
    slow = sweep(method="optuna", sampler="gp")
    assert len(fit([earlier("a", loss) for loss in range(MAX_TOLD_GP + 5)], slow).outcomes) == MAX_TOLD_GP


def test_a_distribution_takes_text_and_floats_in_its_kind_and_moves_a_value_to_its_multiple():
    shaped = {
        "units": {"distribution": "normal", "mu": 32, "sigma": 8, "q": 4},
        "share": {"distribution": "beta", "a": 2, "b": 2, "q": 0.1},
    }
    here = space(parameters=shaped)
    found = fitted({"units": "32.0", "share": "0.30000000000000004"}, here)
    assert (repr(found["units"]), repr(found["share"])) == ("32", repr(here.domains["share"].clip(0.3)))
    assert fitted({"units": 36.0, "share": 0.5}, here)["units"] == 36
    with pytest.raises(Misfit, match="units was not in"):
        fitted({"units": 32.5, "share": 0.5}, here)
