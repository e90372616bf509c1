from __future__ import annotations

from typing import Any

import pytest

from hpsearch.search.coding import Coding
from hpsearch.space.space import Choice, Constant, Integer, Real, Space

SPACE = Space(
    domains={
        "kind": Choice(values=(True, 1, 1.0, None, [1], {"a": 1})),
        "steps": Integer(min=10, max=95, step=30),
        "batch": Integer(min=1, max=512, log=True),
        "dropout": Real(min=0.1, max=0.75, step=0.2),
        "lr": Real(min=1e-5, max=1e-1, log=True),
        "only": Choice(values=([7],)),
        "narrow": Real(min=0.5, max=0.5),
        "fixed": Constant(value="x"),
    }
)
POINT = {
    "kind": [1],
    "steps": 70,
    "batch": 37,
    "dropout": 0.5,
    "lr": 3e-4,
    "only": [7],
    "narrow": 0.5,
    "fixed": "x",
}


def test_a_point_survives_the_way_to_codes_and_back() -> None:
    coding = Coding(SPACE)
    codes = coding.encode(POINT)
    assert codes == {"kind": 4, "steps": 2, "batch": 37, "dropout": 2, "lr": 3e-4}
    assert coding.decode(codes) == POINT


@pytest.mark.parametrize("value", [True, 1, 1.0])
def test_look_alikes_are_told_apart(value: Any) -> None:
    coding = Coding(SPACE)
    back = coding.decode(coding.encode({**POINT, "kind": value}) or {})["kind"]
    assert (type(back), back) == (type(value), value)


def test_codes_just_outside_of_their_range_are_brought_back() -> None:
    point = Coding(SPACE).decode({"kind": 5.4, "steps": 2.6, "batch": 512.9, "dropout": -0.4, "lr": 0.1000000001})
    assert point == {**POINT, "kind": {"a": 1}, "steps": 70, "batch": 512, "dropout": 0.1, "lr": 0.1}


@pytest.mark.parametrize("foreign", [{"steps": 71}, {"kind": "1"}, {"lr": 1.0}, {"fixed": "y"}, {"more": 1}])
def test_a_point_outside_of_the_space_has_no_codes(foreign: dict[str, Any]) -> None:
    assert Coding(SPACE).encode({**POINT, **foreign}) is None
