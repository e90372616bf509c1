"""A rank that runs out of memory alone: nobody hangs, all begin the epoch again with half the micro-batch.

One pair of gloo processes goes through every case.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import start_processes
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from hpsearch.training.context import TrialContext, activate
from hpsearch.training.fit import fit
from hpsearch.training.metrics import accuracy
from hpsearch.training.parallel import leave
from tests.support.hungry import Hungry, HungryAdamW
from tests.support.ranks import meet, meeting_place

pytestmark = pytest.mark.ddp

Rows = list[dict[str, float]]

NEVER = 10**9
MODEL_PLACES = ("forward", "backward", "evaluation")
CASES: list[dict[str, Any]] = [
    {"where": where, "ranks": ranks, "at": at, **more}
    for where, calls in {"zero_grad": (1, 2), "forward": (1, 2, 6), "backward": (1, 2, 6), "step": (1, 6)}.items()
    for ranks in ((1,), (0, 1))
    for at in calls  # DDP rebuilds its buckets before the second step; an epoch has four
    for more in (({}, {"accumulate": 2}) if where == "backward" else ({},))
] + [{"where": "evaluation", "ranks": (1,), "at": 3}]
"""Where which ranks run out, once, in which call."""


def _table(size: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 4, generator=generator)
    return TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())


def _rows(rank: int, case: dict[str, Any]) -> Rows:
    at = case["at"] if rank in case["ranks"] else NEVER
    torch.manual_seed(0)
    fits = (lambda call, samples: call != at) if case["where"] in MODEL_PLACES else (lambda call, samples: True)
    model = Hungry(fits, case["where"], dropout=case.get("dropout", 0.0))
    optimizer = HungryAdamW(model.parameters(), where=case["where"], at=at)
    settings = {"accumulate": case.get("accumulate", 1), "clip_norm": 1.0, "ema_decay": 0.5}
    sets = _table(53, seed=1), _table(23, seed=2)
    metrics = {"val_accuracy": accuracy}
    return list(
        fit(
            *(model, *sets),
            loss=cross_entropy,
            optimizer=optimizer,
            batch_size=16,
            epochs=2,
            metrics=metrics,
            **settings,
        )
    )


def _hopeless(rank: int) -> str:
    """Rank 1 can't do a single sample; what each rank raises."""
    model = Hungry(lambda call, samples: rank == 0, "forward")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    table = _table(53, seed=1)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        list(fit(model, table, table, loss=cross_entropy, optimizer=optimizer, batch_size=16, epochs=1))
    return str(caught.value)


def _run_rank(rank: int, folder: Path, place: Path) -> None:
    torch.set_num_threads(1)
    gc.freeze()  # as slots do; else a collection takes as long as ten epochs
    meet(rank, 2, place)
    with activate(TrialContext(rank=rank, world_size=2, device="cpu", seed=7)):
        results = {
            "whole": _rows(rank, {"where": "never", "ranks": (), "at": NEVER}),
            "halves": _rows(rank, {"where": "never", "ranks": (), "at": NEVER, "accumulate": 2, "dropout": 0.5}),
            "halved": _rows(rank, {"where": "backward", "ranks": (1,), "at": 3, "dropout": 0.5}),
            "cases": [_rows(rank, case) for case in CASES],
            "hopeless": _hopeless(rank),
        }
    torch.save(results, folder / f"{rank}.pt")
    leave()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks got."""
    importlib.import_module("torch._dynamo")  # the first optimizer imports it, and it writes the environment
    multiprocessing.set_forkserver_preload(["torch._dynamo", __name__])
    folder = tmp_path_factory.mktemp("ranks")
    start_processes(_run_rank, (folder, meeting_place(folder)), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: "-".join(map(str, CASES[number].values())))
def test_ranks_begin_the_epoch_again_together(results: list[dict[str, Any]], number: int) -> None:
    rows, others = (result["cases"][number] for result in results)
    case = CASES[number]
    assert rows == others
    expected = 8 // case.get("accumulate", 1) // (1 if case["where"] == "evaluation" else 2)
    assert rows[-1]["micro_batch"] == expected
    for row, whole in zip(rows, results[0]["whole"], strict=True):
        assert row == pytest.approx(whole | {"micro_batch": row["micro_batch"]}, rel=1e-5)


def test_from_the_first_epoch_on_it_is_bit_for_bit_what_half_the_micro_batch_gives(
    results: list[dict[str, Any]],
) -> None:
    for result in results:
        assert result["halved"] == result["halves"]


def test_one_sample_that_fits_on_one_rank_only_fails_both_with_the_same_words(results: list[dict[str, Any]]) -> None:
    assert results[0]["hopeless"] == results[1]["hopeless"]
    assert results[0]["hopeless"].startswith("a micro-batch of 1 sample does not fit in training: CUDA out of memory.")
