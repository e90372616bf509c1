"""Tables of finished trainings, behind one interface; a simulated trial reads its learning curve off a table.

No method is known here, and nothing of hpsearch: a peer in an environment of its own reads the same tables.
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
"""Name to domain as a spec writes it: {min, max, log} or {values}."""
Point = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One finished training."""

    losses: tuple[float, ...]
    """Loss after each epoch, lower is better; NaN from where it diverged."""
    epoch_cost: float = 1.0
    """Time of an epoch, where 1 is an epoch of a typical configuration."""


class Table(ABC):
    """Every point of a space has a curve."""

    name: str
    family: str
    parameters: Parameters
    max_epochs: int
    optimum: float
    """The best loss that is known."""
    start: float
    """The median loss after one epoch."""

    @abstractmethod
    def curve(self, point: Point) -> Curve:
        """The training of a point."""

    def regret(self, loss: float) -> float:
        """Normalised: 0 is the best of the table, 1 the median after one epoch."""
        return (loss - self.optimum) / (self.start - self.optimum)


class TaskSet(Table):
    """Real curves of 1000 Adam configurations; a point is answered by its nearest row.

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
        """One task.

        Args:
            name: Shown.
            curves: float, (configuration, epoch): losses, NaN after a divergence, without the untrained net.
            hp: float, (configuration, parameter), in the order of `parameters`, the betas as they are.
        """
        self.name, self.max_epochs, self._curves = name, curves.shape[1], curves
        columns = np.where([key.startswith("one_minus") for key in self.parameters], 1 - hp, hp)
        self._low = np.log([domain["min"] for domain in self.parameters.values()])
        self._width = np.log([domain["max"] for domain in self.parameters.values()]) - self._low
        self._places = self._place(columns)
        self.optimum, self.start = float(np.nanmin(curves)), float(np.nanmedian(curves[:, 0]))

    def curve(self, point: Point) -> Curve:
        """Of the row that is nearest by the logarithms of all parameters, each scaled to its range."""
        place = self._place(np.array([point[key] for key in self.parameters]))
        row = int(((self._places - place) ** 2).sum(1).argmin())
        return Curve(losses=tuple(self._curves[row].tolist()))

    def _place(self, values: np.ndarray) -> np.ndarray:
        return np.asarray((np.log(np.maximum(values, 1e-300)) - self._low) / self._width)


class TaskSetRows(Table):
    """The same curves searched by the row's number: nothing to learn for a model, everything for a stopping rule."""

    family = "taskset-rows"

    def __init__(self, *, name: str, curves: np.ndarray) -> None:
        """One task; `curves` as for TaskSet."""
        self.name, self.max_epochs, self._curves = name, curves.shape[1], curves
        self.parameters = {"row": {"values": list(range(len(curves)))}}
        self.optimum, self.start = float(np.nanmin(curves)), float(np.nanmedian(curves[:, 0]))

    def curve(self, point: Point) -> Curve:
        """Of the row."""
        return Curve(losses=tuple(self._curves[point["row"]].tolist()))


class Grid(Table):
    """Final values of a full grid: one epoch is the whole training."""

    family = "hpolib"
    max_epochs = 1

    def __init__(self, *, name: str, values: Mapping[str, list[Any]], losses: np.ndarray, seconds: np.ndarray) -> None:
        """One data set.

        Args:
            name: Shown.
            values: Of each parameter.
            losses: One axis for each parameter.
            seconds: Of each training, same axes.
        """
        self.name, self._values, self._losses = name, values, losses
        self._costs = seconds / np.median(seconds)
        self.parameters = {key: {"values": list(each)} for key, each in values.items()}
        self.optimum, self.start = float(losses.min()), float(np.median(losses))

    def curve(self, point: Point) -> Curve:
        """One epoch."""
        place = tuple(self._values[key].index(point[key]) for key in self._values)
        return Curve(losses=(float(self._losses[place]),), epoch_cost=float(self._costs[place]))


class LcBench(Table):
    """A surrogate of LCBench: error of validation in % of networks on a table of data, 50 epochs.

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
    """OpenML task to its number in the model and the best known accuracy in %."""
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
        """One task of the surrogate, `model` being its onnxruntime session."""
        self.name, self._model = f"lcbench-{task}", model
        self._number, best = self.tasks[task]
        self.optimum = 100 - best
        sample = [self._predict(point) for point in _random_points(self.parameters, 300)]
        self.start = float(np.median([losses[0] for losses, _ in sample]))
        self._typical_s = float(np.median([seconds for _, seconds in sample]))

    def curve(self, point: Point) -> Curve:
        """As the surrogate has it; every epoch costs the same share of the whole."""
        losses, seconds = self._predict(point)
        return Curve(losses=tuple(losses), epoch_cost=max(seconds / self._typical_s, 0.02))

    def _predict(self, point: Point) -> tuple[list[float], float]:
        """Error in % after each epoch, and the seconds of all."""
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
    """Where the tables are: HPSEARCH_BENCH_DATA, else ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("HPSEARCH_BENCH_DATA", beside))


def table_names(folder: Path) -> list[str]:
    """All tables of a folder, by the names that `load_table` takes."""
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
    """One table of a data folder; its files are described in that folder's README."""
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
    """A training does not come back from NaN."""
    return np.where(np.logical_or.accumulate(~np.isfinite(curves), axis=1), np.nan, curves)


@cache
def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
