from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import TensorDataset

from hpsearch.slots.diagnosis import failure_of
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.fit import fit
from hpsearch.training.metrics import accuracy
from hpsearch.training.oom import MicroBatch
from hpsearch.training.stepper import make_stepper
from tests.support.hungry import MESSAGE, Hungry, HungryAdamW, run_out

MetricsIterator = list[dict[str, float]]


@pytest.fixture(autouse=True)
def context() -> Iterator[TrialContext]:
    """One rank on the CPU."""
    with activate(TrialContext(device="cpu", seed=3)) as context:
        yield context


@pytest.fixture(scope="module", autouse=True)
def _collections_are_cheap() -> Iterator[None]:
    """As in slots, what was there before is not looked at; else each collection takes longer than the training."""
    gc.freeze()
    yield
    gc.unfreeze()


def _table(size: int, *, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 4, generator=generator)
    return TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())


def _fit(model: nn.Module, **changes: Any) -> MetricsIterator:
    """50 samples in steps of 16: 4 an epoch."""
    optimizer = changes.pop("optimizer", None) or torch.optim.AdamW(model.parameters(), lr=0.01)
    settings: dict[str, Any] = {"loss": cross_entropy, "batch_size": 16, "epochs": 3}
    return list(fit(model, _table(50), _table(23, seed=1), optimizer=optimizer, **(settings | changes)))


def _hungry(limit: int, where: str = "forward", *, dropout: float = 0.0, first: int = 1) -> Hungry:
    torch.manual_seed(0)
    return Hungry(lambda call, samples: call < first or samples <= limit, where, dropout=dropout)


def _without_size(rows: MetricsIterator) -> MetricsIterator:
    return [{name: value for name, value in row.items() if name != "micro_batch"} for row in rows]


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_does_not_fit_is_done_in_halves_as_if_it_had_been_from_the_start(where: str, precision: str) -> None:
    changes: dict[str, Any] = {"precision": precision, "clip_norm": 1.0, "ema_decay": 0.9}
    rows = _fit(_hungry(4, where, dropout=0.5), **changes)
    assert rows == _fit(_hungry(99, dropout=0.5), accumulate=4, **changes)
    assert {row["micro_batch"] for row in rows} == {4}


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_epoch_that_ran_out_in_its_middle_begins_again_with_everything_as_it_was(where: str) -> None:
    def rows(model: nn.Module) -> MetricsIterator:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        return _fit(model, optimizer=optimizer, scheduler=StepLR(optimizer, 1, gamma=0.5), metrics={"acc": accuracy})

    broken, whole = rows(_hungry(8, where, first=7)), rows(_hungry(99))
    assert [row["micro_batch"] for row in broken] == [16, 8, 8]
    for row, other in zip(_without_size(broken), _without_size(whole), strict=True):
        assert row == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("where", ["zero_grad", "step"])
def test_an_optimizer_that_ran_out_halfway_leaves_no_trace(where: str) -> None:
    def rows(at: int) -> MetricsIterator:
        model = _hungry(99)
        return _fit(model, optimizer=HungryAdamW(model.parameters(), where=where, at=at))

    for row, other in zip(rows(6), rows(0), strict=True):
        assert row == pytest.approx(other | {"micro_batch": row["micro_batch"]}, rel=1e-5)
    assert [row["micro_batch"] for row in rows(6)] == [16, 8, 8]


def test_evaluation_is_halved_alone_and_its_metrics_stay_exact() -> None:
    def rows(limit: int) -> MetricsIterator:
        return _fit(_hungry(limit, "evaluation"), eval_batch_size=23, metrics={"acc": accuracy})

    for row, other in zip(rows(3), rows(99), strict=True):
        assert row == pytest.approx(other, rel=1e-5)
        assert row["acc"] == other["acc"]
        assert row["micro_batch"] == 16


@pytest.mark.parametrize("where", ["forward", "evaluation"])
def test_one_sample_that_does_not_fit_is_the_cause_oom_gpu(where: str) -> None:
    with pytest.raises(
        torch.OutOfMemoryError, match=r"a micro-batch of 1 sample does not fit in .*Tried to allocate"
    ) as caught:
        _fit(_hungry(0, where))
    assert failure_of(caught.value).cause == "oom_gpu"


def test_the_log_says_what_happened(caplog: pytest.LogCaptureFixture) -> None:
    _fit(_hungry(8))
    (record,) = caplog.records
    assert record.getMessage() == f"out of GPU memory in training; continuing with a micro-batch of 8: {MESSAGE}"


def test_what_the_failed_pass_held_is_free_before_it_is_tried_again() -> None:
    held: list[weakref.ref[Tensor]] = []

    def allocate() -> None:
        activations = torch.zeros(3)
        held.append(weakref.ref(activations))
        run_out()

    gc.disable()
    try:
        micro_batch = MicroBatch(4, phase="training")
        assert micro_batch.run(allocate) is None
        assert micro_batch.ran_out_of_memory
        assert held[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "is_halved"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (MemoryError(), False),
    ],
)
def test_what_is_out_of_gpu_memory_is_told_from_other_errors(error: Exception, is_halved: bool) -> None:
    def work() -> None:
        raise error

    micro_batch = MicroBatch(4, phase="training")
    if is_halved:
        micro_batch.run(work)
        micro_batch.halve()
        assert micro_batch.size == 2
    else:
        with pytest.raises(type(error)):
            micro_batch.run(work)


def test_loader_workers_begin_again_with_the_epoch() -> None:
    rows = []
    for limit in (8, 99):
        with activate(TrialContext(device="cpu", seed=3, loader_workers=1)):
            rows.append(_fit(_hungry(limit, first=3), epochs=1)[0])
    assert rows[0] == pytest.approx(rows[1] | {"micro_batch": 8}, rel=1e-5)


def _train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    model = _hungry(config["limit"], dropout=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    yield from fit(model, _table(50), _table(23), loss=cross_entropy, optimizer=optimizer, batch_size=16)


def test_a_resumed_trial_begins_with_the_micro_batch_that_fitted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[MetricsIterator] = []
    for parts in ((3,), (1, 2)):
        rows.append([])
        for epochs in parts:
            context = TrialContext(device="cpu", seed=3, checkpoint_dir=tmp_path / str(len(parts)))
            with activate(context):
                stepper = make_stepper(_train, {"limit": 4}, context)
                rows[-1] += [row for _ in range(epochs) if (row := stepper.advance()) is not None]
                context.save()
                stepper.close()
    assert rows[0] == rows[1]
    assert len(caplog.records) == 4, "two halvings in each of the two first attempts, none in the resumed one"
