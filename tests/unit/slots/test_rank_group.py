"""A rank is lost: with its process alone, or with the whole node."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray.exceptions import GetTimeoutError

from hpsearch.slots import rank_group
from hpsearch.slots.rank_group import RankGroup, _RankActor
from hpsearch.slots.rank_losses import NodeLost, RankLost

HERE, ELSEWHERE = "here", "elsewhere"


@pytest.fixture
def dead_nodes(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Nodes that Ray calls dead."""
    dead: set[str] = set()
    context = SimpleNamespace(get_node_id=lambda: HERE)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(rank_group, "is_alive", lambda node: node not in dead)
    return dead


def group_on(node: str) -> RankGroup:
    settings: Any = SimpleNamespace()
    group = RankGroup(settings, None)
    group._actors = [_RankActor(handle=None, pid=1234, node=node)]
    return group


def test_a_rank_whose_raylet_is_alive_was_lost_alone(dead_nodes: set[str]) -> None:
    assert type(group_on(HERE)._loss_of(0, "why")) is RankLost


def test_a_rank_whose_raylet_is_gone_was_lost_with_the_node(dead_nodes: set[str]) -> None:
    group = group_on(HERE)
    group._raylet_pid = os.getppid() + 1  # it was another process's child when it began
    assert isinstance(group._loss_of(0), NodeLost)


def test_the_group_waits_for_an_unreachable_node_until_ray_calls_it_dead(
    dead_nodes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            dead_nodes.add(ELSEWHERE)

    monkeypatch.setattr(time, "sleep", sleep)
    assert isinstance(group_on(ELSEWHERE)._loss_of(0, patience_s=60), NodeLost)
    assert len(sleeps) == 3


def test_the_group_does_not_wait_for_a_rank_that_died_on_a_living_node(
    dead_nodes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    assert type(group_on(ELSEWHERE)._loss_of(0)) is RankLost


def test_an_answer_that_is_slow_to_fetch_is_fetched_again(
    dead_nodes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = iter([GetTimeoutError("busy"), GetTimeoutError("busy")])

    def get(ref: str, timeout: float) -> str:
        for error in slow:
            raise error
        return f"answer of {ref}"

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", lambda refs, timeout: (refs[:1], refs[1:]))
    group = RankGroup(cast("Any", SimpleNamespace()), None)
    group._actors = [_RankActor(handle=Answering(name), pid=os.getpid(), node=HERE) for name in ("zero", "one")]
    assert group.call("step") == ["answer of zero", "answer of one"]


class Answering:
    """An actor of which every method can be called."""

    def __init__(self, ref: str) -> None:
        self._ref = ref

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(options=lambda: SimpleNamespace(remote=lambda: self._ref))
