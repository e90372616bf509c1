"""Two gloo processes against one: the same losses, the same checkpoints. Real processes, no Ray."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from hpsearch.training.checkpoint import load_checkpoint
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.fit import fit
from hpsearch.training.metrics import accuracy
from hpsearch.training.parallel import leave
from hpsearch.training.stepper import make_stepper
from tests.support.ranks import meet, meeting_place

pytestmark = pytest.mark.ddp

Rows = list[dict[str, float]]

OPTIONS = {
    "epochs": 3,
    "schedule": "cosine",
    "warmup_epochs": 1.5,  # the interruption is in the middle of it
    "ema_decay": 0.9,
    "clip_norm": 0.5,
    "eval_every": 2,
}
"""All of fit's that have a state or change the steps."""


@pytest.fixture(scope="module", autouse=True)
def _ranks_are_forked_from_a_process_that_has_torch() -> None:
    """Each would import it anew otherwise, which takes longer than all the training here."""
    importlib.import_module("torch._dynamo")  # the first optimizer imports it, and it writes the environment
    multiprocessing.set_forkserver_preload(["torch._dynamo", __name__])


def _table(size: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 4, generator=generator)
    return TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """No batch norm: over ranks it is another model."""
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(config.get("dropout", 0.0)), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    by_epoch = None if "options" in config else torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
    yield from fit(
        model,
        _table(config["num_train"], seed=1),
        _table(config["num_val"], seed=2),
        loss=cross_entropy,
        optimizer=optimizer,
        batch_size=16,
        accumulate=config.get("accumulate", 1),
        scheduler=by_epoch,
        metrics={"val_accuracy": accuracy},
        **config.get("options", {}),
    )


def train_with_batch_norm(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Ranks have running means of their own; 13 samples, so that one rank evaluates a step more than the other."""
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sets = _table(32, seed=1), _table(13, seed=2)
    yield from fit(model, *sets, loss=cross_entropy, optimizer=optimizer, batch_size=8, eval_batch_size=2)


Function = Callable[[dict[str, Any]], Iterator[dict[str, float]]]


def _run_rank(  # noqa: PLR0917
    rank: int, function: Function, config: dict[str, Any], epochs: int, folder: Path, world_size: int, place: Path
) -> None:
    """What a slot does in each rank; writes its rows beside the checkpoints."""
    if world_size > 1:
        torch.set_num_threads(1)
        meet(rank, world_size, place)
    context = TrialContext(rank=rank, world_size=world_size, device="cpu", seed=7, checkpoint_dir=folder / "checkpoint")
    with activate(context):
        stepper = make_stepper(function, config, context)
        rows = [stepper.advance() for _ in range(epochs)]
        context.save()
        assert stepper.close()
    torch.save(rows, folder / f"rows-{rank}.pt")
    leave()


def _run(function: Function, config: dict[str, Any], *, epochs: int, folder: Path, world_size: int) -> Rows:
    """Rows of rank 0, which must be those of every rank."""
    folder.mkdir(exist_ok=True)
    arguments = (function, config, epochs, folder, world_size, meeting_place(folder))
    if world_size == 1:
        _run_rank(0, *arguments)
    else:
        start_processes(_run_rank, arguments, nprocs=world_size, start_method="forkserver")
    rows: list[Rows] = [torch.load(folder / f"rows-{rank}.pt", weights_only=True) for rank in range(world_size)]
    assert all(other == rows[0] for other in rows), "a sum over ranks is the same everywhere"
    return rows[0]


def _assert_close(rows: Rows, others: Rows) -> None:
    assert [row["val_accuracy"] for row in rows] == [row["val_accuracy"] for row in others], "counts are exact"
    for row, other in zip(rows, others, strict=True):
        assert row == pytest.approx(other | {"micro_batch": row["micro_batch"]}, rel=1e-5), "a share of the same batch"


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"num_train": 64, "num_val": 32}, id="even"),
        pytest.param({"num_train": 53, "num_val": 23}, id="the last batch is 3 and 2 samples"),
        pytest.param({"num_train": 49, "num_val": 1}, id="in the last batch one rank has no sample"),
        pytest.param({"num_train": 53, "num_val": 23, "accumulate": 4}, id="accumulated"),
    ],
)
def test_two_ranks_train_to_the_losses_of_one(tmp_path: Path, config: dict[str, Any]) -> None:
    one = _run(train, config, epochs=4, folder=tmp_path / "one", world_size=1)
    two = _run(train, config, epochs=4, folder=tmp_path / "two", world_size=2)
    _assert_close(two, one)
    assert one[-1]["val_loss"] != one[0]["val_loss"]


def test_one_rank_goes_on_from_the_checkpoint_of_two_and_two_from_that_of_one(tmp_path: Path) -> None:
    config = {"num_train": 53, "num_val": 23}
    whole = _run(train, config, epochs=4, folder=tmp_path / "whole", world_size=1)
    for first, second in ((2, 1), (1, 2)):
        folder = tmp_path / f"{first}-{second}"
        rows = _run(train, config, epochs=2, folder=folder, world_size=first)
        rows += _run(train, config, epochs=2, folder=folder, world_size=second)
        _assert_close(rows, whole)
    found, _ = load_checkpoint(tmp_path / "2-1" / "checkpoint", rank=0)
    assert found is not None
    assert next(iter(found.states["model"])) == "0.weight", "no 'module.' of a wrapper"


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="plain"),
        pytest.param({"accumulate": 2, "options": OPTIONS}, id="accumulated, with a schedule, an average and clipping"),
    ],
)
def test_two_ranks_resume_bit_for_bit_with_random_states_of_their_own(tmp_path: Path, config: dict[str, Any]) -> None:
    config = {"num_train": 53, "num_val": 23, "dropout": 0.5, **config}
    whole = _run(train, config, epochs=3, folder=tmp_path / "whole", world_size=2)
    parts = _run(train, config, epochs=1, folder=tmp_path / "parts", world_size=2)
    parts += _run(train, config, epochs=2, folder=tmp_path / "parts", world_size=2)
    assert parts == whole
    states = [load_checkpoint(tmp_path / "whole" / "checkpoint", rank=rank)[0] for rank in range(2)]
    assert not torch.equal(states[0].rng["torch"], states[1].rng["torch"])  # type: ignore[union-attr,index]


def test_running_means_are_rank_0s_when_ranks_evaluate_different_numbers_of_batches(tmp_path: Path) -> None:
    rows = _run(train_with_batch_norm, {}, epochs=2, folder=tmp_path, world_size=2)
    assert rows[1]["val_loss"] < rows[0]["val_loss"]


def test_the_same_function_runs_under_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "by_hand.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from itertools import islice\n"
        "from tests.integration.test_ddp_fit import train\n"
        "import hpsearch\n"
        "for row in islice(train({'num_train': 53, 'num_val': 23}), 2):\n"
        "    hpsearch.report(row, world_size=hpsearch.current_trial().world_size)\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error::UserWarning", "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node=2", str(script), str(root)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    assert lines[0].startswith("epoch 1: train_loss ")
    assert all(line.endswith("world_size 2") for line in lines)
    assert "destroy_process_group" not in done.stderr
