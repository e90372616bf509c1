"""Names of a slot's processes and calls in Ray's dashboard, which shows nothing of hpsearch's trials by itself.

Ray shows the name of a call in its tables of tasks and, while the call runs, in the title of the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, final

from hpsearch.plain import value_text
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.settings import SlotSettings
from hpsearch.text import printable

MAX_NAME = 120
"""Most characters of a name; the rest is cut off."""
NAME_S = 5.0
"""Minimum seconds between two names of one slot; the dashboard itself is about as late."""
MAX_VALUE = 24
"""Most characters of a parameter's value in a name."""
SHOWN_PARAMETERS = 3
"""Most parameters in a name."""


def call_name(
    assignment: Assignment, *, sweep: str, shown: tuple[str, ...], progress: tuple[int, str, float | None] | None
) -> str:
    """The name of the call that trains the next epoch of a trial.

    Args:
        assignment: The trial.
        sweep: The sweep's name.
        shown: Dotted names of the parameters that it may have; it has the first SHOWN_PARAMETERS that are set.
        progress: Epochs done, name of the objective and its last value (None before the first epoch); None to leave the
            progress out, for a Ray whose metrics would have a time series for each name.

    Example:
        >>> assignment = Assignment(number=7, attempt=1, config={"lr": 0.01}, seed=0, max_epochs=9)
        >>> call_name(assignment, sweep="resnet", shown=("lr",), progress=(2, "val_loss", 0.4213))
        'trial 7 epoch 3 val_loss 0.4213 lr=0.01'
        >>> call_name(assignment, sweep="resnet", shown=("lr",), progress=None)
        'trial 7 of resnet lr=0.01'
    """
    parts = [f"trial {assignment.number}", f"of {sweep}" if progress is None else f"epoch {progress[0] + 1}"]
    if progress is not None and progress[2] is not None:
        parts.append(f"{progress[1][:MAX_VALUE]} {progress[2]:.4g}")
    values = ((name, value_at(assignment.config, name)) for name in shown)
    parameters = [f"{name}={value_text(value, digits=3)[:MAX_VALUE]}" for name, value in values if value is not None]
    return _shortened(" ".join([*parts, *parameters[:SHOWN_PARAMETERS]]))


@final
class CallNames:
    """The name of the next call of one slot; it changes seldom, since Ray keeps kilobytes for each name.

    Args:
        settings: Settings of the sweep.
        clock: A monotonic time in seconds.
    """

    def __init__(self, settings: SlotSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._name, self._named_at = "", 0.0

    def first(self, assignment: Assignment) -> None:
        """Make a name for the first call of an attempt."""
        self._rename(assignment, assignment.known_epochs, None)

    def next(self, assignment: Assignment, *, epochs: int, value: float) -> None:
        """Make a name for the call after an epoch, if the present one is old enough.

        Args:
            assignment: The attempt.
            epochs: Epochs done.
            value: The objective's value in the last of them.
        """
        if self._settings.names_epochs and self._clock() - self._named_at >= NAME_S:
            self._rename(assignment, epochs, value)

    def __str__(self) -> str:
        return self._name

    def _rename(self, assignment: Assignment, epochs: int, value: float | None) -> None:
        settings, self._named_at = self._settings, self._clock()
        progress = (epochs, settings.metric, value) if settings.names_epochs else None
        self._name = call_name(assignment, sweep=settings.sweep, shown=settings.shown_parameters, progress=progress)


def process_name(*, sweep: str, slot: int, rank: int) -> str:
    """The name of a rank's actor, which Ray reads once when it makes the actor: no trial is known then."""
    return _shortened(f"{sweep} slot {slot} rank {rank}")


def value_at(config: Mapping[str, Any], name: str) -> Any:
    """The value of a parameter in a nested configuration, by its dotted name; None where it is not set."""
    found: Any = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _shortened(text: str) -> str:
    return printable(text)[:MAX_NAME]
