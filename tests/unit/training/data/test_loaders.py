from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from hpsearch.errors import InvalidConfig
from hpsearch.training.context import TrialContext
from hpsearch.training.data.loaders import Batch, LoaderWorkers, make_loader
from hpsearch.training.environment import loader_workers
from tests.support.waiting import until


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Sample `index` as target; draws from every global generator as input."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor([torch.rand(1).item(), random.random(), numpy.random.rand()]), torch.tensor(index)


def _numbers(size: int) -> TensorDataset:
    return TensorDataset(torch.arange(size), torch.arange(size))


def _epoch(
    dataset: Any, *, batch_size: int, train: bool = True, epoch: int = 0, rank: int = 0, world_size: int = 1
) -> list[Batch]:
    context = TrialContext(rank=rank, world_size=world_size, device="cpu", seed=3)
    loader = make_loader(dataset, batch_size=batch_size, train=train, context=context)
    loader.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize(
    ("gpus", "cpu_threads", "concurrent", "expected"),
    [(1, 16, 1, 4), (1, 2, 1, 2), (4, 64, 4, 4), (4, 8, 4, 2), (1, 16, 8, 0), (0, 64, 1, 0), (0.5, 16, 1, 2)],
)
def test_loader_workers_are_four_a_gpu_within_the_cpus_and_shared(
    gpus: float, cpu_threads: int, concurrent: int, expected: int
) -> None:
    assert loader_workers(gpus, cpu_threads, concurrent) == expected


@pytest.mark.parametrize("size", [1, 3, 8, 21, 24])
@pytest.mark.parametrize("world_size", [2, 4])
def test_several_ranks_train_on_the_same_samples_as_one_in_every_step(size: int, world_size: int) -> None:
    whole = _epoch(_numbers(size), batch_size=8)
    parts = [_epoch(_numbers(size), batch_size=8, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(part) for part in parts} == {len(whole)}
    for step, batch in enumerate(whole):
        assert batch.num_samples == batch.num_global == len(batch.targets)
        mine = [part[step] for part in parts]
        seen = [number for one in mine for number in one.targets.tolist()[: one.num_samples]]
        assert sorted(seen) == sorted(batch.targets.tolist())
        assert {one.num_global for one in mine} == {batch.num_global}
        assert all(len(one.targets) == max(one.num_samples, 1) for one in mine)


@pytest.mark.parametrize("size", [1, 2, 7, 16])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_evaluation_sees_each_sample_exactly_once(size: int, world_size: int) -> None:
    parts = [
        _epoch(_numbers(size), batch_size=4, train=False, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    seen = [number for part in parts for batch in part for number in batch.targets.tolist()]
    assert sorted(seen) == list(range(size))


def test_training_is_shuffled_anew_each_epoch_and_evaluation_never_is() -> None:
    orders = [torch.cat([b.targets for b in _epoch(_numbers(20), batch_size=8, epoch=e)]).tolist() for e in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(20))
    evaluated = torch.cat([batch.targets for batch in _epoch(_numbers(20), batch_size=8, train=False, epoch=5)])
    assert evaluated.tolist() == list(range(20))


def test_what_is_drawn_at_random_depends_on_seed_epoch_step_and_rank_alone() -> None:
    def drawn(**changes: Any) -> list[list[float]]:
        return torch.cat([batch.inputs for batch in _epoch(Noisy(16), batch_size=8, **changes)]).tolist()

    first = drawn()
    torch.rand(7), random.random(), numpy.random.rand()
    assert drawn() == first
    assert drawn(epoch=1) != first
    assert drawn(rank=0, world_size=2) != drawn(rank=1, world_size=2)
    assert len({value for sample in first for value in sample}) == 48, "no two draws are alike"
    assert drawn(train=False) == drawn(train=False, epoch=1) != first


def test_loading_leaves_the_global_generators_where_they_were() -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), random.random(), numpy.random.rand()

    def seed() -> None:
        torch.manual_seed(1)
        random.seed(1)
        numpy.random.seed(1)

    seed()
    expected = draw(), draw()
    seed()
    first = draw()
    _epoch(Noisy(16), batch_size=8)
    _epoch(_numbers(16), batch_size=8)
    assert (first, draw()) == expected


def test_loader_workers_give_what_the_process_itself_would_and_end_with_close() -> None:
    context = TrialContext(device="cpu", seed=3, loader_workers=2)
    loader = make_loader(Noisy(24), batch_size=8, train=True, context=context)
    processes = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        processes = loader._workers._loader._iterator._workers  # type: ignore[union-attr]
        expected = _epoch(Noisy(24), batch_size=8, epoch=epoch)
        assert [batch.targets.tolist() for batch in batches] == [batch.targets.tolist() for batch in expected]
        assert [batch.inputs.tolist() for batch in batches] == [batch.inputs.tolist() for batch in expected]
    assert [process.is_alive() for process in processes] == [True, True]
    loader.close()
    assert [process.is_alive() for process in processes] == [False, False]
    loader.close()


def test_training_and_validation_share_their_processes() -> None:
    context = TrialContext(device="cpu", seed=3, loader_workers=2)
    workers = LoaderWorkers(context)
    train = make_loader(Noisy(24), batch_size=8, train=True, context=context, workers=workers)
    val = make_loader(_numbers(10), batch_size=4, train=False, context=context, workers=workers)
    for epoch in range(2):
        train.set_epoch(epoch)
        expected = _epoch(Noisy(24), batch_size=8, epoch=epoch)
        assert [batch.targets.tolist() for batch in train] == [batch.targets.tolist() for batch in expected]
        assert [batch.targets.tolist() for batch in val] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        next(iter(train))  # given up in the middle, as after a lack of memory
    assert len(multiprocessing.active_children()) == 2
    workers.close()
    assert not multiprocessing.active_children()


def test_loader_processes_die_with_a_process_that_is_killed() -> None:
    script = """
import multiprocessing, time, torch
from torch.utils.data import Dataset
from hpsearch.training.data.loaders import make_loader
from hpsearch.training.context import TrialContext

class Slow(Dataset):
    def __len__(self): return 8
    def __getitem__(self, index):
        if index: time.sleep(100_000)
        return torch.zeros(1), torch.zeros(1)

context = TrialContext(device="cpu", loader_workers=2)
batches = iter(make_loader(Slow(), batch_size=1, train=False, context=context))
next(batches)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(100_000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = process.stdout.readline().split()
        assert len(children) == 2
        process.kill()
    until(lambda: not any(is_running(int(pid)) for pid in children))  # PyTorch looks after its parent between batches


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("batch_size", "world_size"), [(9, 2), (1, 2), (0, 1)])
def test_a_batch_that_can_not_be_split_is_refused(batch_size: int, world_size: int) -> None:
    with pytest.raises(InvalidConfig, match=f"batch_size {batch_size} can't be split over {world_size} workers"):
        _epoch(_numbers(20), batch_size=batch_size, world_size=world_size)


def test_an_empty_data_set_and_a_strange_sample_are_clear_errors() -> None:
    with pytest.raises(ValueError, match="the training set is empty"):
        _epoch(_numbers(0), batch_size=4)
    with pytest.raises(TypeError, match="must be a pair"):
        _epoch(TensorDataset(torch.arange(4)), batch_size=4)
