"""How a slot is told apart in Ray's dashboard, which shows nothing of Tune: names of its processes and of their calls.

Ray puts the name of a call into its tables of tasks and, while it runs, into the title of the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, final

from hpsearch.plain import canonical
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.settings import SlotSettings

MAX_NAME = 120
"""Characters of a call's name; what does not fit is cut off at the end."""
NAME_S = 5.0
"""Seconds that a name stays at least; the dashboard is that late anyway."""
MAX_VALUE = 24
"""Characters of one parameter in it."""
SHOWN_PARAMETERS = 3
"""Parameters in it."""


def call_name(
    assignment: Assignment, *, sweep: str, shown: tuple[str, ...], standing: tuple[int, str, float | None] | None
) -> str:
    """The name of the call that trains the next epoch of a trial.

    Args:
        assignment: The trial.
        sweep: The sweep's name.
        shown: Dotted names of the parameters that it may tell; the first that are set are told.
        standing: Epochs done, the objective's name and its last value (None before the first); None for a Ray whose
            metrics would count every epoch's name as a series of its own.

    Example:
        >>> assignment = Assignment(number=7, attempt=1, config={"lr": 0.01}, seed=0, max_epochs=9)
        >>> call_name(assignment, sweep="resnet", shown=("lr",), standing=(2, "val_loss", 0.4213))
        'trial 7 epoch 3 val_loss 0.4213 lr=0.01'
        >>> call_name(assignment, sweep="resnet", shown=("lr",), standing=None)
        'trial 7 of resnet lr=0.01'
    """
    words = [f"trial {assignment.number}", f"of {sweep}" if standing is None else f"epoch {standing[0] + 1}"]
    if standing is not None and standing[2] is not None:
        words.append(f"{standing[1][:MAX_VALUE]} {standing[2]:.4g}")
    values = ((name, value_at(assignment.config, name)) for name in shown)
    told = [f"{name}={_value_text(value)}" for name, value in values if value is not None]
    return _safe(" ".join([*words, *told[:SHOWN_PARAMETERS]]))


@final
class CallNames:
    """Names the calls of one slot; a name stays for a while, since Ray keeps some kilobytes for each one for ever."""

    def __init__(self, settings: SlotSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin; `clock` gives seconds that never go back."""
        self._settings, self._clock = settings, clock
        self._name, self._named_at = "", 0.0

    def first(self, assignment: Assignment) -> None:
        """Name the first call of an attempt."""
        self._rename(assignment, assignment.known_epochs, None)

    def next(self, assignment: Assignment, *, epochs: int, value: float) -> None:
        """Name the call after an epoch: `epochs` are done, `value` is the objective's last."""
        if self._settings.names_epochs and self._clock() - self._named_at >= NAME_S:
            self._rename(assignment, epochs, value)

    def __str__(self) -> str:
        return self._name

    def _rename(self, assignment: Assignment, epochs: int, value: float | None) -> None:
        settings, self._named_at = self._settings, self._clock()
        standing = (epochs, settings.metric, value) if settings.names_epochs else None
        self._name = call_name(assignment, sweep=settings.sweep, shown=settings.shown, standing=standing)


def process_name(*, sweep: str, slot: int, rank: int) -> str:
    """What an actor is called; Ray asks once, when it is made, so that it can't name a trial."""
    return _safe(f"{sweep} slot {slot} rank {rank}")


def value_at(config: Mapping[str, Any], name: str) -> Any:
    """A parameter of a nested configuration by its dotted name; None where it is not set."""
    found: Any = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _value_text(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else canonical(value)
    return text[:MAX_VALUE]


def _safe(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:MAX_NAME]
