from __future__ import annotations

import io
import math
from typing import Any, get_args

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from hpsearch.errors import InvalidConfig
from hpsearch.training.schedule import Schedule, make_schedule


def _made(kind: Any, **settings: Any) -> tuple[torch.optim.Optimizer, LRScheduler]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return optimizer, make_schedule(optimizer, kind, **settings)


def _rates(kind: Any, *, steps: int, **settings: Any) -> list[float]:
    optimizer, schedule = _made(kind, **settings)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_a_warm_up_rises_by_equal_amounts_to_the_full_rate() -> None:
    rates = _rates("constant", steps=6, warmup_steps=3, total_steps=None)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_cosine_and_linear_end_at_zero_with_the_trial() -> None:
    cosine = _rates("cosine", steps=9, warmup_steps=2, total_steps=8)
    assert cosine[2:] == pytest.approx([(1 + math.cos(math.pi * step / 6)) / 2 for step in range(7)])
    assert _rates("linear", steps=5, warmup_steps=0, total_steps=4) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


@pytest.mark.parametrize("kind", get_args(Schedule))
def test_a_schedule_goes_on_from_its_state_as_checkpoints_store_it(kind: str) -> None:
    whole = _rates(kind, steps=10, warmup_steps=3, total_steps=10)
    optimizer, schedule = _made(kind, warmup_steps=3, total_steps=10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), schedule.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    optimizer, schedule = _made(kind, warmup_steps=3, total_steps=10)
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == whole[5:]


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        ("cosin", {"warmup_steps": 0, "total_steps": 9}, InvalidConfig, "'cosin'. Did you mean 'cosine'"),
        (
            "linear",
            {"warmup_steps": 9, "total_steps": 9},
            InvalidConfig,
            "the warm-up takes 9 steps, but the",
        ),
        ("cosine", {"warmup_steps": 0, "total_steps": None}, ValueError, "needs to know where training ends"),
    ],
)
def test_a_schedule_that_can_not_be_is_refused(
    kind: str, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _made(kind, **settings)
