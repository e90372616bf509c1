"""The parts of a spec that have keys of their own: the metric, the stopping rule, limits, resources, which Ray.

Each is checked by itself here; what must fit together is in `checks.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from hpsearch.text import shown

MAX_DURATION_S = 1e9
"""Some thirty years."""
MAX_GPUS = 1024
"""GPUs of one worker; beyond it a number is a slip of the finger."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def wrong(message: str) -> PydanticCustomError:
    """A value's mistake, in our words."""
    return PydanticCustomError("hpsearch", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """Seconds of a number or of a text such as `90s`, `30m`, `2h`, `1d`, `1h30m`; above 0.

    Example:
        >>> parse_duration("1h30m"), parse_duration(90)
        (5400.0, 90.0)
    """
    if seconds := _seconds(value):
        return seconds
    raise wrong(f"expected a time above 0, got {shown(value)}. Write for example 90s, 30m or 1h30m.")


def _parse_grace(value: object) -> float:
    """Seconds, written as `parse_duration` reads them; 0 too."""
    if (seconds := _seconds(value)) is not None:
        return seconds
    raise wrong(f"expected a time of 0 or more, got {shown(value)}. Write for example 60s, or 0 for none.")


def _seconds(value: object) -> float | None:
    """0 or more; None for what is no time."""
    seconds: object = value
    if isinstance(value, str) and re.fullmatch(r"([0-9]+(\.[0-9]+)?[smhd])+", value.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([smhd])", value))
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= MAX_DURATION_S:
        return float(seconds)
    return None


def _parse_gpu(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_GPUS:
        expected = f"expected auto, a whole number or a fraction of one GPU, got {shown(value)}"
        raise wrong(f"{expected}. Write for example 1 or 0.25.")
    if value > 1 and value != int(value):
        whole = int(value)
        raise wrong(f"more than one GPU must be a whole number, got {value}. Write {whole} or {whole + 1}.")
    return float(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


class Part(BaseModel):
    """Frozen, strict, without other keys; the line below a field says what it is."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Metric(Part):
    """What is optimised."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Key of the dict that the trainable yields."""
    goal: Literal["minimize", "maximize"]
    """Which way is better."""

    @property
    def sign(self) -> int:
        """1 to minimise, -1 to maximise: `sign * value` is always better when lower."""
        return 1 if self.goal == "minimize" else -1


class EarlyTerminate(Part):
    """The stopping rule."""

    type: Literal["none", "asha", "asha_stop", "hyperband", "median"] = "none"
    """`asha` pauses at a rung and promotes the best; `asha_stop` stops the rest at once; `hyperband` is several ASHAs
    with later and later first rungs; `median` stops who is worse than half of the others; `none` stops nobody."""
    min_iter: Count = 1
    """Reports that no trial is stopped before: the first rung."""
    max_iter: Count | None = None
    """The same as `limits.epochs`."""
    eta: Annotated[int, Field(ge=2, le=1000)] = 3
    """One trial in this many passes a rung."""
    brackets: Annotated[int, Field(ge=1, le=100)] | None = None
    """ASHAs of `hyperband`; None for one for each rung, and one without."""
    min_trials: Count = 3
    """Others that `median` compares a trial with, at least."""


class Limits(Part):
    """When to end."""

    trials: Count | None = None
    """Trials in all; None for 20, or for every point of a grid."""
    epochs: Count | None = None
    """Reports after which a trial is done; None leaves it to the trainable."""
    concurrent: Literal["auto"] | Count = "auto"
    """Trials at once; `auto` for as many as the resources allow."""
    time_s: Duration | None = Field(default=None, alias="time")
    """Seconds after which the sweep starts nothing and interrupts what runs."""
    trial_time_s: Duration | None = Field(default=None, alias="trial_time")
    """Seconds of training after which a trial is killed as `hung`."""
    grace_s: Annotated[float, BeforeValidator(_parse_grace)] = Field(default=60.0, alias="grace")
    """Seconds that a trial may go on by itself after its last epoch was recorded, to save a model for example."""
    retries: Annotated[int, Field(ge=0, le=100)] = 1
    """Further attempts at a trial that failed for an unknown cause."""
    failures: Count | None = None
    """Counted failures that end the sweep; None for 3 identical ones without a success."""
    checkpoints: Literal["all"] | Count = 3
    """Finished trials, the best, whose checkpoints are kept beside those that are needed to go on."""


class Resources(Part):
    """What each worker of a trial gets."""

    cpu: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 1.0
    """CPU cores of a worker; may be a fraction."""
    gpu: Annotated[Literal["auto"] | float, BeforeValidator(_parse_gpu)] = "auto"
    """GPUs of a worker: a whole number, a fraction below 1, or `auto` for 1 where there is any."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes of a trial; more than 1 is DistributedDataParallel."""
    loaders: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)] = "auto"
    """DataLoader processes of a worker; `auto` for its share of four a GPU, of this machine's threads at most."""

    @property
    def num_loaders(self) -> int | None:
        """`loaders`; None where it is `auto`."""
        return None if self.loaders == "auto" else self.loaders


class RaySettings(Part):
    """Which Ray."""

    address: Annotated[str, Field(min_length=1)] | None = None
    """Address of a running Ray; None for a local one that ends with the sweep."""
