"""The outline of a value changes with the value, and stays the same where the value is only used."""

from __future__ import annotations

import functools
import itertools
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy
import pandas
import pytest
import torch
from torch import nn

from hpsearch.slots.resident.state.outline import Outline, outline, short


def of(value: object) -> Outline:
    return outline(value, budget=2000, kept=[])[0]


class Slotted:
    __slots__ = ("empty", "number")

    def __init__(self) -> None:
        self.number = 1


@dataclass
class Plain:
    number: float = float("nan")
    members: Any = None


def with_default(x: int, seen: list[int] = []) -> list[int]:  # noqa: B006
    seen.append(x)
    return seen


def make_counter() -> Callable[[], int]:
    count = [0]

    def counted() -> int:
        count[0] += 1
        return count[0]

    return counted


def in_a_cycle() -> list[Any]:
    members: list[Any] = [1]
    members.append(members)
    return members


def train_once(model: nn.Linear) -> None:
    model(torch.ones(1, 2)).sum().backward()


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "a list grows": (list, lambda seen: seen.append(1)),
    "a member of a list": (lambda: [-1, 2], lambda seen: seen.__setitem__(0, -2)),
    "one that becomes true": (lambda: [1], lambda seen: seen.__setitem__(0, True)),
    "a long list far from its ends": (lambda: [0] * 10_000, lambda seen: seen.reverse() or seen.pop()),
    "a dict in a dict": (lambda: {"a": {}}, lambda seen: seen["a"].setdefault("b", 1)),
    "the order of a dict": (lambda: {"a": 1, "b": 2}, lambda seen: seen.update(a=seen.pop("a"))),
    "a long dict": (lambda: dict.fromkeys(range(10_000)), lambda seen: seen.update(new=1)),
    "a set": (lambda: {1, 2}, lambda seen: seen.add(3)),
    "a deque": (lambda: deque([1], maxlen=1), lambda seen: seen.append(2)),
    "a counter": (Counter, lambda seen: seen.update("a")),
    "an attribute": (SimpleNamespace, lambda seen: setattr(seen, "a", 1)),
    "an attribute of an object in a list": (lambda: [Plain()], lambda seen: setattr(seen[0], "number", 1.0)),
    "a slot": (Slotted, lambda seen: setattr(seen, "number", 2)),
    "a default": (lambda: with_default, lambda seen: seen(1)),
    "a closure": (make_counter, lambda seen: seen()),
    "an attribute of a function": (make_counter, lambda seen: setattr(seen, "calls", 1)),
    "a partial": (lambda: functools.partial(print, []), lambda seen: seen.args[0].append(1)),
    "a bound method": (lambda: Plain(members=[]).__eq__, lambda seen: seen.__self__.members.append(1)),
    "a tensor": (lambda: torch.zeros(3), lambda seen: seen.add_(1)),
    "a tensor by its data": (lambda: nn.Parameter(torch.zeros(3)), lambda seen: seen.data.add_(1)),
    "a large tensor": (lambda: torch.zeros(10**6), lambda seen: seen[7:8].add_(1)),
    "a tensor by numpy": (lambda: torch.zeros(3), lambda seen: seen.numpy().fill(1)),
    "a model": (lambda: nn.Linear(2, 2), lambda seen: seen.eval()),
    "a deep model": (
        lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(500))),
        lambda seen: nn.init.zeros_(seen[300].bias),
    ),
    "gradients": (lambda: nn.Linear(2, 2), train_once),
    "an array": (lambda: numpy.zeros(3), lambda seen: seen.fill(1)),
    "a large array": (lambda: numpy.zeros((1000, 1000)).T, lambda seen: seen.fill(1)),
    "an array of objects": (lambda: numpy.array([None, "a"], dtype=object), lambda seen: seen.fill(1)),
    "a frame": (lambda: pandas.DataFrame({"a": [1, 2]}), lambda seen: seen.__setitem__("a", 3)),
    "numpy's generator": (lambda: numpy.random.default_rng(0), lambda seen: seen.random()),
    "numpy's old generator": (lambda: numpy.random.RandomState(0), lambda seen: seen.rand()),
    "python's generator": (lambda: random.Random(0), lambda seen: seen.random()),
    "torch's generator": (torch.Generator, lambda seen: torch.rand(1, generator=seen)),
    "a count": (itertools.count, next),
    "a generator": (lambda: (x for x in [1, 2]), next),
    "bytes": (lambda: bytearray(b"a"), lambda seen: seen.extend(b"b")),
    "a list that holds itself": (in_a_cycle, lambda seen: seen.append(2)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_shows(name: str) -> None:
    make, change = CHANGES[name]
    value = make()
    before = of(value)
    assert of(value) == before
    change(value)
    assert of(value) != before


def test_what_is_only_used_looks_the_same() -> None:
    model, lock, frame = nn.Linear(2, 2), threading.Lock(), pandas.DataFrame({"a": [float("nan"), 1.0]})
    used: dict[str, Any] = {
        "model": model,
        "lock": lock,
        "frame": frame,
        "loss": nn.CrossEntropyLoss(),
        "plain": Plain(),
        "device": "cpu",
    }
    before = of(used)
    with lock, torch.no_grad():
        used["loss"](model(torch.ones(1, 2)), torch.zeros(1, dtype=torch.long))
    frame["a"].mean()
    assert of(used) == before


def test_a_replaced_object_shows_even_if_its_contents_are_equal() -> None:
    kept: list[object] = []
    before = outline([Plain(number=1)], budget=99, kept=kept)[0]
    assert of([Plain(number=1)]) != before


def test_an_outline_ends_at_its_budget() -> None:
    found, visited = outline([[[x] for x in range(100)] for _ in range(100)], budget=500, kept=[])
    assert visited < 1200
    assert found[:2] == (list, 100)


def test_an_object_that_raises_when_inspected_is_represented_by_its_identity() -> None:
    class Proxy:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    proxy = Proxy()
    assert of([proxy]) == of([proxy])


def test_a_value_is_named_shortly() -> None:
    values: tuple[Any, ...] = (0.5, "a", [1, 2], {}, "a" * 50, nn.ReLU())
    assert [short(value) for value in values] == [
        "0.5",
        "'a'",
        "a list of 2",
        "a dict of 0",
        "a str of 50",
        "a ReLU",
    ]


def test_a_number_of_thousands_of_digits_is_named_by_its_size():
    assert short(10**5000) == "an int of 16610 bits"
