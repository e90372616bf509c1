"""A report gives numbers, or the failure that says what was found, what was needed, and what was perhaps meant."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from hpsearch.slots.protocol import Failed
from hpsearch.slots.report_check import as_number, check_metrics, misspelling


@pytest.mark.parametrize(
    "value",
    [
        1, 1.0, True, np.float32(1), np.int64(1), np.longdouble(1), np.bool_(True), np.array(1.0), torch.tensor(1.0),
        torch.tensor(1), torch.tensor(True), Decimal(1), Fraction(1), np.array(Decimal(1)),
    ],
)  # fmt: skip
def test_numbers_of_any_kind_are_numbers(value):
    assert as_number(value) == 1.0 and type(as_number(value)) is float


def test_a_number_too_large_for_a_float_is_infinite_with_its_sign():
    huge: list[Any] = [10**400, Fraction(10**400), Decimal("1e400")]
    assert [as_number(value) for value in huge] == [float("inf")] * 3
    assert [as_number(-value) for value in huge] == [-float("inf")] * 3


def test_a_decimal_that_is_no_number_has_diverged():
    for text in ("nan", "snan"):
        failed = check_metrics({"loss": Decimal(text)}, objective="loss")
        assert isinstance(failed, Failed) and failed.cause == "diverged"


@pytest.mark.parametrize("value", [None, "1", [1.0], torch.ones(2), np.ones(2), {"a": 1}, 1j])
def test_what_is_not_one_number_is_none(value):
    assert as_number(value) is None


def test_good_metrics_are_returned_flat_and_finite():
    report = {"loss": 1, "more": {"acc": torch.tensor(0.5), "note": "text"}, "lr": float("inf")}
    assert check_metrics(report, objective="loss") == {"loss": 1.0, "more/acc": 0.5}


def test_a_metrics_name_that_is_no_unicode_can_be_stored():
    assert check_metrics({"loss": 1, "acc/\udce9": 2}, objective="loss") == {"loss": 1.0, "acc/\\udce9": 2.0}


@pytest.mark.parametrize(
    ("report", "cause", "text"),
    [
        ({"acc": 1, "f1": 2}, "bad_metric", "reported [acc, f1], needed loss"),
        ({"loss": None}, "bad_metric", "loss = None"),
        ({"loss": "low"}, "bad_metric", "'low'"),
        (3.0, "bad_metric", "needed a dict"),
        ({"loss": float("nan")}, "diverged", "loss is nan"),
        ({"loss": -float("inf")}, "diverged", "loss is -inf"),
    ],
)
def test_bad_metrics_say_what_was_found(report, cause, text):
    failed = check_metrics(report, objective="loss")
    assert isinstance(failed, Failed) and failed.cause == cause and text in failed.evidence


def evidence(report: dict[str, Any], objective: str = "val_loss", **keys: Any) -> str:
    failed = check_metrics(report, objective=objective, **keys)
    assert isinstance(failed, Failed)
    return failed.evidence


@pytest.mark.parametrize(
    ("objective", "reported"),
    [
        ("val_loss", "val_los"), ("val_los", "val_loss"), ("val_loss", "valLoss"), ("val_loss", "val/loss"),
        ("val_loss", "valloss"), ("val_loss", "VAL_LOSS"), ("val_loss", "validation_loss"), ("val_loss", "eval_loss"),
        ("val_loss", "loss_val"), ("val_acc", "valid_accuracy"), ("accuracy", "acc"), ("loss", "Loss"),
    ],
)  # fmt: skip
def test_another_spelling_of_the_metric_is_offered(objective, reported):
    assert misspelling(objective, ["train_f1", reported, "epoch"]) == reported


@pytest.mark.parametrize(
    ("objective", "reported"),
    [
        ("val_loss", "train_loss"), ("val_loss", "loss"), ("val_loss", "val_acc"), ("val_loss", "test_loss"),
        ("top1", "top5"), ("train_cross_entropy", "val_cross_entropy"), ("map", "mae"), ("acc", "auc"), ("损失", "!"),
    ],
)  # fmt: skip
def test_another_metric_is_not_taken_for_a_misspelt_one(objective, reported):
    assert misspelling(objective, [reported]) is None


def test_of_several_spellings_the_nearest_is_offered():
    assert misspelling("val_loss", ["validation_loss", "val_los", "valid_loss"]) == "val_los"


def test_a_first_report_without_the_metric_lists_what_it_has_and_what_was_perhaps_meant():
    assert evidence({"val_los": 1, "acc": 2}) == "reported [val_los, acc], needed val_loss (did you mean 'val_los'?)"
    assert evidence({"train_loss": 1}) == "reported [train_loss], needed val_loss in every report"


@pytest.mark.parametrize(
    ("report", "epoch", "is_misspelling"),
    [({"val_los": 1}, 1, True), ({"val_los": 1}, 2, False), ({"acc": 1}, 1, False), ({"val_loss": None}, 1, False)],
)
def test_only_another_spelling_in_a_first_report_is_marked_as_a_misspelling(report, epoch, is_misspelling):
    failed = check_metrics(report, objective="val_loss", epoch=epoch)
    assert isinstance(failed, Failed) and failed.is_misspelling is is_misspelling


def test_a_later_report_without_the_metric_is_no_misspelling():
    text = "reported [val_los], needed val_loss in every report: between evaluations, report its last value again"
    assert evidence({"val_los": 1}, epoch=2) == text


def test_of_many_names_twenty_are_listed():
    found = evidence({f"layer{number}": 1 for number in range(100)})
    assert found.endswith("layer18, layer19, and 80 more], needed val_loss in every report")
