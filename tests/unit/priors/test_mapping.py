"""Which earlier trials fit into a space, and the reasons for which the others are left out."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.priors.mapping import MAX_PRIORS, MAX_PRIORS_GP, EarlierTrial, Misfit, make_prior, map_point
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
    assert map_point(POINT, space()) == POINT


def test_what_the_space_does_not_have_is_dropped_and_constants_and_computed_ones_are_filled_in():
    without = {name: value for name, value in POINT.items() if name not in ("depth", "twice")}
    assert map_point({**without, "gone": 1}, space()) == POINT


def test_what_is_inactive_here_is_dropped():
    found = map_point({**POINT, "optimizer.name": "adamw"}, space())
    assert "optimizer.momentum" not in found and found["optimizer.name"] == "adamw"


def test_values_get_the_type_of_their_parameter():
    text = {name: str(value) for name, value in POINT.items()}
    assert map_point(text, space()) == POINT
    floats = map_point({**POINT, "width": 32.0, "depth": 20.0, "dropout": 0.30000000000000004}, space())
    assert (floats["width"], floats["depth"], floats["dropout"]) == (32, 20, 0.3)
    assert [type(floats[name]) for name in ("width", "depth")] == [int, int]


@pytest.mark.parametrize(
    ("changes", "message"),
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
        ({"twice": 65}, "twice differs from the value that is computed now"),
    ],
)
def test_what_does_not_fit_says_why(changes, message):
    point = {name: value for name, value in {**POINT, **changes}.items() if value is not None}
    with pytest.raises(Misfit) as caught:
        map_point(point, space())
    assert message in str(caught.value)


def test_a_broken_constraint_is_named():
    with pytest.raises(Misfit, match=r"they break the constraint 'width \* 2 <= 60'"):
        map_point(POINT, space(constraints=["width * 2 <= 60"]))


def earlier(source: str, loss: float, **changes: Any) -> EarlierTrial:
    return EarlierTrial(source=source, point={**POINT, **changes}, state="done", losses={1: loss})


def test_the_report_counts_sources_and_equal_reasons():
    prior = make_prior(
        [earlier("a", 1), earlier("b", 2), earlier("b", 3), earlier("a", 4, lr=1), earlier("a", 5, lr=2)], sweep()
    )
    assert [outcome.loss for outcome in prior.outcomes] == [1, 2, 3]
    assert str(prior) == "3 earlier trials of a (1), b (2); 2 left out: lr was not in 0.0001 .. 0.1 log"


def test_of_too_many_the_newest_are_kept():
    prior = make_prior([earlier("a", loss) for loss in range(MAX_PRIORS + 5)], sweep())
    assert len(prior.outcomes) == MAX_PRIORS and prior.outcomes[0].loss == 5
    assert "5 left out: older than the newest 1000" in str(prior)
    slow = sweep(method="optuna", sampler="gp")
    assert len(make_prior([earlier("a", loss) for loss in range(MAX_PRIORS_GP + 5)], slow).outcomes) == MAX_PRIORS_GP


def test_a_distribution_takes_texts_and_floats_in_its_type_and_moves_a_value_to_its_multiple():
    shaped = {
        "units": {"distribution": "normal", "mu": 32, "sigma": 8, "q": 4},
        "share": {"distribution": "beta", "a": 2, "b": 2, "q": 0.1},
    }
    here = space(parameters=shaped)
    found = map_point({"units": "32.0", "share": "0.30000000000000004"}, here)
    share: Any = here.domains["share"]
    assert (repr(found["units"]), repr(found["share"])) == ("32", repr(share.clip(0.3)))
    assert map_point({"units": 36.0, "share": 0.5}, here)["units"] == 36
    with pytest.raises(Misfit, match="units was not in"):
        map_point({"units": 32.5, "share": 0.5}, here)
