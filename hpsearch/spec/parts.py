"""The sections of a spec that have keys of their own: metric, stopping rule, limits, resources, Ray.

Only types and ranges of single values are checked here. Values that must fit together, and the texts of messages about
types, are in `checks.py`; the top-level keys are in `sweep.py`.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from hpsearch.text import shown

MAX_DURATION_S = 1e9
"""Longest time, about thirty years."""
MAX_GPUS = 1024
"""GPUs of one worker; a larger number is a typing error."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def wrong(message: str) -> PydanticCustomError:
    """The error for a value that a validator refuses, with a message of our own."""
    return PydanticCustomError("hpsearch", "{message}", {"message": message})


def parse_duration(value: object) -> float:
    """Seconds, from a number or a text such as `90s`, `30m`, `2h`, `1d` or `1h30m`; above 0.

    Example:
        >>> parse_duration("1h30m"), parse_duration(90)
        (5400.0, 90.0)
    """
    if seconds := _seconds(value):
        return seconds
    raise wrong(f"expected a time above 0, got {shown(value)}. Write for example 90s, 30m or 1h30m.")


def _parse_grace(value: object) -> float:
    """Seconds as from `parse_duration`, but 0 is allowed."""
    if (seconds := _seconds(value)) is not None:
        return seconds
    raise wrong(f"expected a time of 0 or more, got {shown(value)}. Write for example 60s, or 0 for none.")


def _seconds(value: object) -> float | None:
    """Seconds, 0 or more; None if the value is not a time."""
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
        raise wrong(f"expected a whole number of GPUs above 1, got {value}. Write {whole} or {whole + 1}.")
    return float(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds above 0."""
Count = Annotated[int, Field(ge=1, le=10_000_000)]
"""A whole number above 0."""


class Part(BaseModel):
    """Base of the sections: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Metric(Part):
    """The value to optimise."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Its key in the dicts that the trainable yields."""
    goal: Literal["minimize", "maximize"]
    """Whether lower or higher values are better."""

    @property
    def sign(self) -> int:
        """1 to minimise, -1 to maximise, so that a lower `sign * value` is better."""
        return 1 if self.goal == "minimize" else -1

    @property
    def report_call(self) -> str:
        """The call that reports it, as a message shows it."""
        if self.name.isidentifier() and not iskeyword(self.name):
            return f"hpsearch.report({self.name}=...)"
        return f"hpsearch.report({{{self.name!r}: ...}})"


class EarlyTerminate(Part):
    """The stopping rule."""

    type: Literal["none", "asha", "asha_stop", "hyperband", "median"] = "none"
    """`asha` pauses trials at a rung and promotes the best; `asha_stop` stops the others at once; `hyperband` runs
    several ASHAs with different first rungs; `median` stops trials worse than the median; `none` stops none."""
    min_iter: Count = 1
    """The first rung: number of reports before which no trial is stopped."""
    max_iter: Count | None = None
    """Another key for `limits.epochs`."""
    eta: Annotated[int, Field(ge=2, le=1000)] = 3
    """One in `eta` trials passes a rung."""
    brackets: Annotated[int, Field(ge=1, le=100)] | None = None
    """Number of ASHAs in `hyperband`; None for one per rung plus one without rungs."""
    min_trials: Count = 3
    """Least number of other trials that `median` compares a trial with."""


class Limits(Part):
    """When the sweep and its trials end, and how many checkpoints are kept."""

    trials: Count | None = None
    """Number of trials; None for 20, or for every point of a grid."""
    epochs: Count | None = None
    """Reports after which a trial is complete; None if the trainable decides."""
    concurrent: Literal["auto"] | Count = "auto"
    """Largest number of trials at the same time; `auto` for as many as the resources allow."""
    time_s: Duration | None = Field(default=None, alias="time")
    """Seconds after which the sweep starts no trial and interrupts those that run; None for no limit."""
    trial_time_s: Duration | None = Field(default=None, alias="trial_time")
    """Seconds of training after which a trial is killed with the cause `hung`; None for no limit."""
    grace_s: Annotated[float, BeforeValidator(_parse_grace)] = Field(default=60.0, alias="grace")
    """Seconds that a trial may continue after its last epoch was recorded, for example to save a model."""
    retries: Annotated[int, Field(ge=0, le=100)] = 1
    """Further attempts of a trial that failed for an unknown cause."""
    failures: Count | None = None
    """Number of counted failures that ends the sweep; None for 3 identical failures without a success, which end it in
    any case where they are reports without the metric, or no reports."""
    checkpoints: Literal["all"] | Count = 3
    """Number of best finished trials whose checkpoints are kept, beside those needed to resume trials."""


class Resources(Part):
    """CPUs, GPUs and processes of a trial."""

    cpu: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 1.0
    """CPU cores of each worker; may be a fraction."""
    gpu: Annotated[Literal["auto"] | float, BeforeValidator(_parse_gpu)] = "auto"
    """GPUs of each worker: a whole number, a fraction below 1, or `auto` for 1 if the machine has any."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes of a trial; with more than 1 they train by DistributedDataParallel."""
    loaders: Literal["auto"] | Annotated[int, Field(ge=0, le=1024)] = "auto"
    """DataLoader processes of each worker; `auto` for its share of four per GPU, at most this machine's threads."""

    @property
    def num_loaders(self) -> int | None:
        """`loaders` as a number; None if it is `auto`."""
        return None if self.loaders == "auto" else self.loaders


class RaySettings(Part):
    """The Ray cluster that runs the sweep."""

    address: Annotated[str, Field(min_length=1)] | None = None
    """Address of a running cluster; None for a local one that ends with the sweep."""
