"""A model that is split over two gloo processes against the same in one: the experiments, on their real images."""

from __future__ import annotations

import importlib
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import hpsearch
from experiments import alexnet, fsdp
from hpsearch.spec.file import load_sweep
from tests.integration.test_ddp_fit import Function, _run

pytestmark = [pytest.mark.ddp, pytest.mark.slow]

RATES = {"weight_decay": 1e-3, "batch_size": 128}
EXPERIMENTS = [
    pytest.param(
        alexnet.train,
        {"width": 0.125, "dropout": 0.0, "micro_batches": 4, "lr": 0.02, "momentum": 0.9, **RATES},
        id="alexnet in two stages",
    ),
    pytest.param(fsdp.train, {"width": 16, "depth": 2, "patch": 4, "lr": 3e-3, **RATES}, id="a transformer in shards"),
]


@pytest.fixture(scope="module", autouse=True)
def _ranks_are_forked_from_a_process_that_has_torch() -> None:
    importlib.import_module("torch._dynamo")
    multiprocessing.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", __name__])


@pytest.mark.parametrize(("train", "config"), EXPERIMENTS)
def test_two_ranks_train_to_the_losses_of_one_and_go_on_from_their_own_states(
    tmp_path: Path, train: Function, config: dict[str, Any]
) -> None:
    one = _run(train, config, epochs=2, folder=tmp_path / "one", world_size=1)
    two = _run(train, config, epochs=2, folder=tmp_path / "two", world_size=2)
    for row, other in zip(two, one, strict=True):
        assert row == pytest.approx(other, rel=1e-3)
    assert one[1]["train_loss"] < one[0]["train_loss"]
    parts = _run(train, config, epochs=1, folder=tmp_path / "parts", world_size=2)
    parts += _run(train, config, epochs=1, folder=tmp_path / "parts", world_size=2)
    assert parts == two, "bit for bit"
    with pytest.raises(ValueError, match=r"was written by 2 ranks, each with a part of its own; this trial has 1"):
        _run(train, config, epochs=1, folder=tmp_path / "two", world_size=1)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "small"),
    [
        pytest.param("alexnet", {"width": 0.125, "batch_size": 128}, id="alexnet"),
        pytest.param("fsdp", {"width": 16, "depth": 2, "patch": 4, "batch_size": 128}, id="fsdp"),
    ],
)
def test_the_shipped_sweep_pauses_two_trials_and_goes_on_with_the_better_from_the_states_of_its_two_ranks(
    ray_session: None, home: Path, name: str, small: dict[str, Any]
) -> None:
    constants = [f"parameters.{key}={value}" for key, value in small.items()]
    path = Path(__file__).parents[2] / "search_spaces" / f"{name}.yaml"
    results = hpsearch.run(load_sweep(path, overrides=[*constants, "resources.gpu=0"]), trials=2, epochs=2, home=home)
    trials = results.trials.set_index("state")
    assert trials["epochs_trained"].to_dict() == {"done": 2, "stopped": 1}
    done = trials.loc["done"]
    first, second = results.history[results.history["trial"] == done["trial"]]["train_loss"]
    assert second < first
    files = {path.name for path in (home / str(done["checkpoint"])).parent.iterdir()}
    assert {"epoch-000002.rank-0.pt", "epoch-000002.rank-1.pt"} <= files
