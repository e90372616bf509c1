"""Names in Ray's dashboard: short, harmless, and about the trial."""

from __future__ import annotations

from typing import Any

from hpsearch.slots.dashboard_names import MAX_NAME, NAME_S, CallNames, call_name, process_name
from hpsearch.slots.protocol import Assignment
from tests.support.slot_settings import settings_of


def named(config: dict[str, Any], *shown: str, progress: tuple[int, str, float | None] | None) -> str:
    assignment = Assignment(number=12, attempt=1, config=config, seed=0, max_epochs=9)
    return call_name(assignment, sweep="resnet", shown=shown, progress=progress)


def test_a_call_is_named_by_trial_epoch_metric_and_parameters():
    config = {"optimizer": {"lr": 0.0123456, "name": "sgd"}, "width": 64}
    name = named(config, "optimizer.lr", "width", progress=(2, "val_loss", 0.421345))
    assert name == "trial 12 epoch 3 val_loss 0.4213 optimizer.lr=0.0123 width=64"


def test_the_first_call_has_no_metric_yet():
    assert named({"lr": 0.1}, "lr", progress=(0, "val_loss", None)) == "trial 12 epoch 1 lr=0.1"


def test_where_each_name_makes_a_time_series_all_epochs_of_a_trial_have_one_name():
    assert named({"lr": 0.1}, "lr", progress=None) == "trial 12 of resnet lr=0.1"


def test_parameters_that_are_not_active_are_skipped():
    name = named({"a": 1, "c": 3, "d": 4, "e": 5}, "a", "b", "b.x", "c", "d", "e", progress=(0, "m", None))
    assert name == "trial 12 epoch 1 a=1 c=3 d=4"


def test_a_name_is_short_and_has_no_control_characters():
    hostile = {"a": "\x1b]0;title\x07" + "x" * 500, "b\u202e\n": "<script>" * 9, "c": ["long"] * 99}
    name = named(hostile, *hostile, progress=(2, "m\n" * 200, 1.0))
    assert len(name) <= MAX_NAME
    assert name.isprintable()
    assert name.startswith("trial 12 epoch 3 m?m?")
    assert process_name(sweep="s" * 500, slot=1, rank=0).isprintable()


def test_a_name_is_kept_for_a_while_but_not_for_the_next_trial():
    now = [0.0]
    names = CallNames(settings_of(names_epochs=True, metric="m"), clock=lambda: now[0])
    first, second = (Assignment(number=n, attempt=1, config={}, seed=0, max_epochs=9) for n in (1, 2))
    names.first(first)
    assert str(names) == "trial 1 epoch 1"
    now[0] = NAME_S - 0.1
    names.next(first, epochs=7, value=0.5)
    assert str(names) == "trial 1 epoch 1"
    now[0] = NAME_S
    names.next(first, epochs=8, value=0.25)
    assert str(names) == "trial 1 epoch 9 m 0.25"
    names.first(second)
    assert str(names) == "trial 2 epoch 1"


def test_a_process_is_named_by_its_slot_and_rank():
    assert process_name(sweep="resnet", slot=2, rank=1) == "resnet slot 2 rank 1"
