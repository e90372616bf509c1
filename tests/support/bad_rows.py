"""Rows that may be reported, and trainables of every form that report one: `config["kind"]` says which."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import hpsearch

BAD: dict[str, tuple[Any, str, str]] = {
    "missing": ({"acc": 0.5, "f1": 0.4}, "bad_metric", "reported [acc, f1], needed loss"),
    "empty": ({}, "bad_metric", "reported [], needed loss"),
    "none": ({"loss": None}, "bad_metric", "reported loss = None, which is no number, needed loss"),
    "text": ({"loss": "low"}, "bad_metric", "reported loss = 'low', which is no number, needed loss"),
    "tensor": ({"loss": torch.zeros(2)}, "bad_metric", "which is no number, needed loss"),
    "nan": ({"loss": math.nan}, "diverged", "loss is nan"),
    "infinite": ({"loss": np.float32("inf")}, "diverged", "loss is inf"),
    "huge": ({"loss": 10**400}, "diverged", "loss is inf"),
}
"""Kind to a row that can't be used, the cause, and words of the evidence."""
GOOD: dict[str, dict[str, Any]] = {
    "bool": {"loss": True, "acc": 2},
    "numpy": {"loss": np.float32(1.0), "acc": np.int64(2)},
    "tensor 0-d": {"loss": torch.tensor(1.0), "acc": torch.tensor([[2.0]]).sum()},
    "other values": {"loss": 1, "acc": 2.0, "note": "text", "none": None, "nan": math.nan},
}
"""Kind to a row that means a loss of 1 and an accuracy of 2."""


def row_of(kind: str) -> Any:
    """The row of that kind."""
    return BAD[kind][0] if kind in BAD else GOOD[kind]


def generator(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields."""
    yield {"loss": 5.0}
    yield row_of(config["kind"])


def reporter(config: dict[str, Any]) -> None:
    """Calls our report."""
    hpsearch.report(loss=5.0)
    hpsearch.report(row_of(config["kind"]))


def ray_function(config: dict[str, Any]) -> None:
    """Calls Ray Tune's."""
    from ray import tune

    tune.report({"loss": 5.0})
    tune.report(row_of(config["kind"]))


SCRIPT = """
import sys
import hpsearch
from tests.support.bad_rows import row_of

hpsearch.report(loss=5.0)
hpsearch.report(row_of(sys.argv[1].removeprefix("--kind=")))
"""
