"""What a report must have: the finite numbers of one, or the failure of a report that can't be used."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from hpsearch.errors import nearest
from hpsearch.slots.protocol import Failed
from hpsearch.text import writable

MAX_NAMES = 20
"""Names of a report that a message lists."""
MAX_VALUE = 60
"""Characters of a value in a message."""
MIN_PREFIX = 3
"""Characters that a short form of a word has at least, as `acc` of `accuracy`."""


def check_metrics(report: object, *, objective: str, epoch: int = 1) -> dict[str, float] | Failed:
    """The finite numbers of a report, or the failure of a report that can't be used.

    Args:
        report: What the trainable reported. Any kind of number is accepted: bool, NumPy scalars, 0-d tensors. Nested
            dicts are flattened, with `/` between the names; values that are no numbers are left out.
        objective: Name of the metric that must be among them, and finite.
        epoch: Number of the report; earlier ones of the trial had the objective.
    """
    if not isinstance(report, Mapping):
        return Failed(cause="bad_metric", evidence=f"reported {_short(report)}, needed a dict with {objective}")
    flat = _flat(report)
    metrics = {name: number for name, value in flat.items() if (number := as_number(value)) is not None}
    if objective not in metrics:
        return _failure_without(objective, flat, epoch)
    if not math.isfinite(metrics[objective]):
        return Failed(cause="diverged", evidence=f"{objective} is {metrics[objective]}")
    return {writable(name): value for name, value in metrics.items() if math.isfinite(value)}


def as_number(value: object) -> float | None:
    """The value as a float if it is one number of any kind, else None."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # 0-d tensors and arrays, numpy scalars
        value = value.item()
    if not isinstance(value, numbers.Real | Decimal):  # bool, int, float and Fraction are Real
        return None
    try:
        return float(value)
    except OverflowError:  # an int too large for a float counts as diverged
        return -math.inf if value < 0 else math.inf
    except ValueError:  # a signaling NaN of `decimal`
        return math.nan


def misspelling(objective: str, reported: Iterable[str]) -> str | None:
    """The reported name that the objective is most likely a misspelling of, or another spelling; None if there is none.

    Each word of the one must be near a word of the other: a training loss is no misspelling of a validation loss, which
    a trainable may report less often.

    Example:
        >>> misspelling("val_loss", ["train_loss", "ValLoss"]), misspelling("val_acc", ["valid/accuracy"])
        ('ValLoss', 'valid/accuracy')
        >>> misspelling("val_loss", ["train_loss", "loss", "val_acc"]) is None
        True
    """
    near = [name for name in reported if _is_near(_words(name), _words(objective))]
    return nearest(objective, near, cutoff=0.0)


def _failure_without(objective: str, report: Mapping[str, Any], epoch: int) -> Failed:
    """The failure of a report without a number for the objective; of a trial's first one, with what was meant."""
    if objective in report:
        value = _short(report[objective])
        return Failed(
            cause="bad_metric", evidence=f"reported {objective} = {value}, which is no number, needed {objective}"
        )
    more = f", and {len(report) - MAX_NAMES} more" if len(report) > MAX_NAMES else ""
    missing = f"reported [{', '.join(list(report)[:MAX_NAMES])}{more}], needed {objective}"
    if epoch > 1:
        missing += " in every report: between evaluations, report its last value again"
    elif (near := misspelling(objective, report)) is not None:
        return Failed(cause="bad_metric", evidence=f"{missing} (did you mean '{near}'?)", is_misspelling=True)
    else:
        missing += " in every report"
    return Failed(cause="bad_metric", evidence=missing)


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+|\d+", name)]


def _is_near(one: list[str], other: list[str]) -> bool:
    if one and "".join(one) == "".join(other):
        return True
    pairings = (zip(a, b, strict=False) for a, b in ((one, other), (sorted(one), sorted(other))))
    return 0 < len(one) == len(other) and any(all(_are_alike(*pair) for pair in pairs) for pairs in pairings)


def _are_alike(one: str, other: str) -> bool:
    """Whether two words are the same, but for a slip of the keyboard or an abbreviation."""
    short, long = sorted((one, other), key=len)
    is_prefix = len(short) >= MIN_PREFIX and long.startswith(short)
    return one == other or is_prefix or nearest(one, [other], cutoff=0.7) is not None


def _flat(report: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in report.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 3] + "..."
