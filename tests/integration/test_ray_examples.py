"""The examples that the installed Ray Tune ships, unchanged: those that need no download and no other package run.

`EXAMPLES` has a line for every file, so that a new Ray with a new example fails here. The functions come from Ray's
files as they are; their spaces and settings are written as in the file, smaller where the file trains for minutes.
`make examples` runs them all; without it, those with a scheduler, checkpoints and a conditional space.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpsearch

tune = pytest.importorskip("ray.tune")
FOLDER = Path(tune.__file__).parent / "examples"

LOSS = {"metric": "mean_loss", "mode": "min"}
STEPS = {"steps": 3}


def objective() -> dict[str, Any]:
    return {**STEPS, "width": tune.uniform(0, 20), "height": tune.uniform(-100, 100)}


RUN: dict[str, tuple[str, Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "tune_basic_example": (
        "easy_objective",
        lambda: {**objective(), "activation": tune.choice(["relu", "tanh"])},
        LOSS,
    ),
    "async_hyperband_example": (
        "easy_objective",
        lambda: {**objective(), "width": tune.uniform(10, 100), "height": tune.uniform(0, 100)},
        {**LOSS, "scheduler": "asha", "grace_period": 2},
    ),
    "custom_func_checkpointing": (
        "train_func",
        lambda: {"steps": 10, "width": tune.randint(10, 100), "height": tune.loguniform(10, 100)},
        {**LOSS, "early_terminate": {"type": "asha", "min_iter": 1}},
    ),
    "hyperband_function_example": (
        "train_func",
        lambda: {"height": tune.uniform(0, 100)},
        {"metric": "episode_reward_mean", "mode": "max"},
    ),
    "hyperopt_conditional_search_space_example": (
        "easy_objective",
        lambda: {
            **objective(),
            "activation": {"values": ["relu", "tanh"]},
            "mult": {"min": 1.0, "max": 2.0, "when": {"activation": "relu"}},
        },
        {**LOSS, "method": "hyperopt"},
    ),
    "optuna_define_by_run_example": (
        "easy_objective",
        lambda: {
            **objective(),
            "activation": {"values": ["relu", "tanh"]},
            "mult": {"min": 1.0, "max": 2.0, "when": {"activation": "relu"}},
        },
        {**LOSS, "method": "optuna"},
    ),
    "optuna_example": ("easy_objective", lambda: {**objective(), "activation": tune.choice(["relu", "tanh"])}, LOSS),
    "optuna_multiobjective_example": ("easy_objective", objective, {"metric": "loss", "mode": "min"}),
    "bayesopt_example": ("easy_objective", objective, {**LOSS, "method": "bayes"}),
    "nevergrad_example": ("easy_objective", objective, LOSS),
    "ax_example": (
        "easy_objective",
        lambda: {"iterations": 3, **{f"x{i}": tune.uniform(0.0, 1.0) for i in range(1, 7)}},
        {"metric": "hartmann6", "mode": "min", "sampler": "gp", "method": "optuna"},
    ),
    "logging_example": (
        "easy_objective",
        lambda: {**STEPS, "width": tune.randint(10, 100), "height": tune.loguniform(10, 100)},
        LOSS,
    ),
    "pbt_function": (
        "pbt_function",
        lambda: {"lr": 0.0001, "some_other_factor": tune.choice([1, 2])},
        {"metric": "mean_accuracy", "mode": "max"},
    ),
}
"""Name of the file to (its function, the space, how it is searched)."""

SHOWN = ("async_hyperband_example", "custom_func_checkpointing", "hyperopt_conditional_search_space_example")
CHOSEN = tuple(RUN) if os.environ.get("HPSEARCH_TEST_ALL_EXAMPLES") else SHOWN

LEFT = {
    "needs another package": {
        "lightgbm_example": "lightgbm",
        "mlflow_example": "mlflow",
        "mlflow_ptl": "mlflow",
        "mnist_ptl_mini": "lightning",
        "pb2_ppo_example": "gymnasium",
        "pbt_memnn_example": "tensorflow",
        "pbt_ppo_example": "gymnasium",
        "pbt_tune_cifar10_with_keras": "tensorflow",
        "tf_mnist_example": "tensorflow",
        "tune_mnist_keras": "tensorflow",
        "utils": "tensorflow",
        "xgboost_dynamic_resources_example": "xgboost",
        "xgboost_example": "xgboost",
    },
    "downloads images by torchvision": {
        "cifar10_pytorch", "mnist_pytorch", "mnist_pytorch_trainable", "pbt_convnet_example",
        "pbt_convnet_function_example",
    },
    "has a class and no function": {
        "bohb_example", "custom_checkpointing_with_callback", "hyperband_example", "pbt_example",
    },
    "holds no trainable of its own": {"__init__", "pb2_example"},
}  # fmt: skip
"""Why a file does not run here."""


def test_every_example_of_the_installed_package_is_accounted_for() -> None:
    listed = [*RUN, *(name for names in LEFT.values() for name in names)]
    assert sorted(listed) == sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_an_example_runs_unchanged(name: str, ray_session: None, home: Path) -> None:
    function, space, settings = RUN[name]
    trainable = getattr(importlib.import_module(f"ray.tune.examples.{name}"), function)
    limits = {"epochs": 3, "concurrent": 1}
    keys = {"home": home, "num_samples": 2, "limits": limits, "resources": {"gpu": 0}, **settings}
    trials = hpsearch.run(space(), trainable, name=name, **keys).trials
    assert set(trials["state"]) <= {"done", "stopped"}
    assert trials["epochs_trained"].max() == 3
