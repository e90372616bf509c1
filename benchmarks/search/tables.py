"""Tables of finished trainings with one interface: a simulated trial looks up its learning curve.

This module does not import hpsearch, so that another library in an environment of its own can use the same tables.
"""

from __future__ import annotations

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

Parameters = Mapping[str, Mapping[str, Any]]
"""Name to domain as in a spec: {min, max, log} or {values}."""
Point = Mapping[str, Any]
"""Name to value of each parameter."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of a finished training."""

    losses: tuple[float, ...]
    """Loss after each epoch, lower is better; NaN from the epoch in which it diverged."""
    epoch_cost: float = 1.0
    """Time of an epoch, relative to a typical configuration."""


class Table(ABC):
    """A table in which every point of a space has a learning curve."""

    name: str
    """Name of the table, as `load_table` takes it."""
    family: str
    """Name of the benchmark that the table belongs to."""
    parameters: Parameters
    """The search space."""
    max_epochs: int
    """Epochs of a full training."""
    optimum: float
    """The best known loss."""
    start: float
    """The median loss after one epoch."""

    @abstractmethod
    def curve(self, point: Point) -> Curve:
        """The learning curve of a point."""

    def regret(self, loss: float) -> float:
        """Normalised regret: 0 for the best loss of the table, 1 for the median after one epoch."""
        return (loss - self.optimum) / (self.start - self.optimum)


class TaskSet(Table):
    """Real curves of 1000 Adam configurations; a point gets the curve of the nearest configuration.

    Args:
        name: Name of the table.
        curves: float, (configuration, epoch): losses, NaN after a divergence, without the untrained network.
        hp: float, (configuration, parameter), in the order of `parameters`, with the betas themselves.

    Source:
        Metz et al., "Using a thousand optimization tasks to learn hyperparameter search strategies", arXiv:2002.11887.
    """

    family = "taskset"
    parameters: ClassVar[Parameters] = {  # type: ignore[misc]  # other tables have parameters of their own
        "learning_rate": {"min": 1e-8, "max": 10.0, "log": True},
        "one_minus_beta1": {"min": 1e-4, "max": 1.0, "log": True},
        "one_minus_beta2": {"min": 1e-6, "max": 1.0, "log": True},
        "epsilon": {"min": 1e-10, "max": 1e3, "log": True},
        "l1": {"min": 1e-8, "max": 10.0, "log": True},
        "l2": {"min": 1e-8, "max": 10.0, "log": True},
        "linear_decay": {"min": 1e-7, "max": 1e-4, "log": True},
        "exponential_decay": {"min": 1e-6, "max": 1e-3, "log": True},
    }

    def __init__(self, *, name: str, curves: np.ndarray, hp: np.ndarray) -> None:
        self.name, self.max_epochs, self._curves = name, curves.shape[1], curves
        columns = np.where([key.startswith("one_minus") for key in self.parameters], 1 - hp, hp)
        self._low = np.log([domain["min"] for domain in self.parameters.values()])
        self._width = np.log([domain["max"] for domain in self.parameters.values()]) - self._low
        self._positions = self._position(columns)
        self.optimum, self.start = float(np.nanmin(curves)), float(np.nanmedian(curves[:, 0]))

    def curve(self, point: Point) -> Curve:
        """The curve of the nearest configuration, by the logarithms of all parameters scaled to their ranges."""
        position = self._position(np.array([point[key] for key in self.parameters]))
        row = int(((self._positions - position) ** 2).sum(1).argmin())
        return Curve(losses=tuple(self._curves[row].tolist()))

    def _position(self, values: np.ndarray) -> np.ndarray:
        """Logarithms of values, scaled to [0, 1] by the ranges of the parameters; the last axis is the parameter."""
        return np.asarray((np.log(np.maximum(values, 1e-300)) - self._low) / self._width)


class TaskSetRows(Table):
    """The same curves, searched by row number: a model has nothing to learn, so only the stopping rule matters.

    Args:
        name: Name of the table.
        curves: As for `TaskSet`.
    """

    family = "taskset-rows"

    def __init__(self, *, name: str, curves: np.ndarray) -> None:
        self.name, self.max_epochs, self._curves = name, curves.shape[1], curves
        self.parameters = {"row": {"values": list(range(len(curves)))}}
        self.optimum, self.start = float(np.nanmin(curves)), float(np.nanmedian(curves[:, 0]))

    def curve(self, point: Point) -> Curve:
        """The curve of the row."""
        return Curve(losses=tuple(self._curves[point["row"]].tolist()))


class Grid(Table):
    """Final losses of a full grid, where one epoch is the whole training (HPOLib).

    Args:
        name: Name of the table.
        values: Values of each parameter.
        losses: float, one axis for each parameter, in the order of `values`.
        seconds: Duration of each training, with the same axes.

    Source:
        Klein and Hutter, "Tabular Benchmarks for Joint Architecture and Hyperparameter Optimization", arXiv:1905.04970.
    """

    family = "hpolib"
    max_epochs = 1

    def __init__(self, *, name: str, values: Mapping[str, list[Any]], losses: np.ndarray, seconds: np.ndarray) -> None:
        self.name, self._values, self._losses = name, values, losses
        self._costs = seconds / np.median(seconds)
        self.parameters = {key: {"values": list(each)} for key, each in values.items()}
        self.optimum, self.start = float(losses.min()), float(np.median(losses))

    def curve(self, point: Point) -> Curve:
        """The curve of one epoch."""
        index = tuple(self._values[key].index(point[key]) for key in self._values)
        return Curve(losses=(float(self._losses[index]),), epoch_cost=float(self._costs[index]))


class LcBench(Table):
    """A surrogate of LCBench: validation error in % of networks on tabular data, for 50 epochs.

    Args:
        task: OpenML task, a key of `tasks`.
        model: The onnxruntime session of the surrogate.

    Source:
        Zimmer et al., "Auto-PyTorch Tabular", arXiv:2006.13799. The surrogate: Pfisterer et al., "YAHPO Gym",
        arXiv:2109.03670.
    """

    family = "lcbench"
    max_epochs = 50
    tasks: ClassVar[Mapping[str, tuple[int, float]]] = {
        "3945": (34, 99.66),
        "189906": (30, 94.96),
        "168868": (21, 99.76),
    }
    """OpenML task to its number in the surrogate, and the best known accuracy in %."""
    parameters: ClassVar[Parameters] = {  # type: ignore[misc]  # other tables have parameters of their own
        "batch_size": {"min": 16, "max": 512, "log": True},
        "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True},
        "momentum": {"min": 0.1, "max": 0.99},
        "weight_decay": {"min": 1e-5, "max": 1e-1},
        "num_layers": {"min": 1, "max": 5},
        "max_units": {"min": 64, "max": 1024, "log": True},
        "max_dropout": {"min": 0.0, "max": 1.0},
    }

    def __init__(self, *, task: str, model: Any) -> None:
        self.name, self._model = f"lcbench-{task}", model
        self._number, best = self.tasks[task]
        self.optimum = 100 - best
        sample = [self._predict(point) for point in _random_points(self.parameters, 300)]
        self.start = float(np.median([losses[0] for losses, _ in sample]))
        self._typical_s = float(np.median([seconds for _, seconds in sample]))

    def curve(self, point: Point) -> Curve:
        """The curve that the surrogate predicts; all epochs of a training cost the same."""
        losses, seconds = self._predict(point)
        return Curve(losses=tuple(losses), epoch_cost=max(seconds / self._typical_s, 0.02))

    def _predict(self, point: Point) -> tuple[list[float], float]:
        """Error in % after each epoch, and the seconds of all epochs together."""
        fixed = [float(point[key]) for key in self.parameters]
        rows = np.array([[epoch + 2, *fixed] for epoch in range(self.max_epochs)], dtype=np.float32)
        tasks = np.full((self.max_epochs, 1), self._number, dtype=np.int32)
        (found,) = self._model.run(None, {"x_cat": tasks, "x_cont": rows})
        return (100 - np.clip(found[:, 1], 0, 100)).tolist(), float(found[-1, 0])


def _random_points(parameters: Parameters, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{key: _draw(domain, rng) for key, domain in parameters.items()} for _ in range(count)]


def _draw(domain: Mapping[str, Any], rng: np.random.Generator) -> float:
    low, high = domain["min"], domain["max"]
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if domain.get("log") else rng.uniform(low, high)
    return round(value) if isinstance(low, int) else float(value)


# -- the data folder -------------------------------------------------------------------------------------------------


def data_dir() -> Path:
    """The folder of the tables: HPSEARCH_BENCH_DATA, else ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("HPSEARCH_BENCH_DATA", beside))


def table_names(folder: Path) -> list[str]:
    """Names of all tables of a folder, as `load_table` takes them."""
    names: list[str] = []
    if (folder / "taskset.npz").exists():
        count = len(np.load(folder / "taskset.npz")["tasks"])
        names += [f"{kind}-{number}" for kind in ("taskset", "taskset-rows") for number in range(count)]
    if (folder / "lcbench.onnx").exists():
        names += [f"lcbench-{task}" for task in LcBench.tasks]
    if (folder / "hpolib.npz").exists():
        names += [
            f"hpolib-{key[: -len('/val_loss')]}" for key in np.load(folder / "hpolib.npz") if key.endswith("loss")
        ]
    return names


@cache
def load_table(folder: Path, name: str) -> Table:
    """Load one table of a folder by its name."""
    family, _, rest = name.rpartition("-")
    if family in ("taskset", "taskset-rows"):
        file = np.load(folder / "taskset.npz")
        curves = _diverged_for_good(file["valid"][int(rest), :, 1:].astype(float))
        return (
            TaskSet(name=name, curves=curves, hp=file["hp"])
            if family == "taskset"
            else TaskSetRows(name=name, curves=curves)
        )
    if family == "lcbench":
        return LcBench(task=rest, model=_session(folder / "lcbench.onnx"))
    file = np.load(folder / "hpolib.npz")
    losses, seconds = (file[f"{rest}/{what}"].astype(float).mean(-1) for what in ("val_loss", "train_time"))
    return Grid(name=name, values=json.loads(str(file["space"])), losses=losses, seconds=seconds)


def _diverged_for_good(curves: np.ndarray) -> np.ndarray:
    """Curves that stay NaN from the first value that is not finite."""
    return np.where(np.logical_or.accumulate(~np.isfinite(curves), axis=1), np.nan, curves)


@cache
def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
