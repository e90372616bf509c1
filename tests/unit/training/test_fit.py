from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

from hpsearch.errors import Diverged, InvalidConfig
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.fit import fit
from hpsearch.training.metrics import accuracy
from hpsearch.training.stepper import make_stepper

MetricsIterator = list[dict[str, float]]


def _table(size: int, *, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 4, generator=generator)
    return TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())


class Jittered(Dataset[tuple[Tensor, Tensor]]):
    """A table with noise from two global generators."""

    def __init__(self, table: TensorDataset) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, target = self.table[index]
        return inputs + 0.1 * torch.randn(4) + random.gauss(0, 0.1), target


def _model(dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


@pytest.fixture
def context() -> Iterator[TrialContext]:
    """One rank on the CPU, seeded."""
    torch.manual_seed(0)
    with activate(TrialContext(device="cpu")) as context:
        yield context


def _fit(model: nn.Module | None = None, *, lr: float = 0.1, **changes: Any) -> MetricsIterator:
    model = model or _model()
    optimizer = changes.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=lr)
    settings: dict[str, Any] = {"loss": cross_entropy, "batch_size": 16, "epochs": 2}
    return list(fit(model, _table(50), _table(23, seed=1), optimizer=optimizer, **(settings | changes)))


@pytest.mark.usefixtures("context")
def test_fit_equals_a_loop_written_by_hand() -> None:
    model = _model()
    twin = _model()
    twin.load_state_dict(model.state_dict())
    rows = _fit(model, metrics={"val_accuracy": accuracy})

    optimizer, train, val = torch.optim.SGD(twin.parameters(), lr=0.1), _table(50), _table(23, seed=1)
    for epoch, row in enumerate(rows):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(epoch))
        total = 0.0
        for indices in torch.split(order, 16):
            inputs, targets = train[indices.tolist()]
            loss = cross_entropy(twin(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        with torch.no_grad():
            outputs = twin(val.tensors[0])
        assert row["train_loss"] == pytest.approx(total / 50, rel=1e-12)
        assert row["val_loss"] == pytest.approx(cross_entropy(outputs, val.tensors[1]).item(), rel=1e-6)
        assert row["val_accuracy"] == (outputs.argmax(1) == val.tensors[1]).sum().item() / 23
    assert all(torch.equal(mine, other) for mine, other in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.usefixtures("context")
def test_fit_learns() -> None:
    rows = _fit(epochs=30, lr=0.5, metrics={"val_accuracy": accuracy})
    assert rows[-1]["val_loss"] < 0.5 * rows[0]["val_loss"]
    assert rows[-1]["val_accuracy"] > 0.9


@pytest.mark.usefixtures("context")
def test_metrics_are_exact_means_whatever_a_metric_returns_and_however_batches_fall() -> None:
    def rows(eval_batch_size: int) -> MetricsIterator:
        torch.manual_seed(0)
        metrics = {
            "each": lambda outputs, targets: outputs.argmax(1) == targets,
            "mean": lambda outputs, targets: (outputs.argmax(1) == targets).float().mean(),
            "number": lambda outputs, targets: (outputs.argmax(1) == targets).double().mean().item(),
        }
        return _fit(metrics=metrics, eval_batch_size=eval_batch_size)

    for row, whole in zip(rows(7), rows(23), strict=True):
        assert row["each"] == whole["each"]
        assert row == pytest.approx(whole, rel=1e-6)
        assert row["each"] == pytest.approx(row["mean"], rel=1e-6) == pytest.approx(row["number"], rel=1e-6)


@pytest.mark.usefixtures("context")
def test_accumulation_changes_memory_and_not_the_losses() -> None:
    rows = []
    for accumulate in (1, 2, 8):
        torch.manual_seed(0)
        rows.append(_fit(accumulate=accumulate))
    for other in rows[1:]:
        assert [row["val_loss"] for row in other] == pytest.approx([row["val_loss"] for row in rows[0]], rel=1e-5)
        assert [row["train_loss"] for row in other] == pytest.approx([row["train_loss"] for row in rows[0]], rel=1e-5)


@pytest.mark.usefixtures("context")
def test_the_model_is_evaluated_without_dropout_or_gradients_and_trained_with_both() -> None:
    seen: set[tuple[bool, bool]] = set()

    class Watched(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            seen.add((self.training, torch.is_grad_enabled()))
            return super().forward(input)

    _fit(Watched(4, 2))
    assert seen == {(True, True), (False, False)}


@pytest.mark.usefixtures("context")
def test_batches_may_be_nested_and_a_loss_may_be_a_module() -> None:
    class Pairs(Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            return {"left": torch.eye(4)[index % 2], "right": (torch.zeros(4), index), "name": "x"}, [
                torch.tensor(index % 2)
            ]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, parts: Any) -> Tensor:
            assert parts["name"] == ["x"] * len(parts["left"])
            return self.layer(parts["left"] + parts["right"][0])

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.CrossEntropyLoss(weight=torch.ones(2))

        def forward(self, outputs: Tensor, targets: Any) -> Tensor:
            return self.inner(outputs, targets[0])

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows = list(fit(model, Pairs(), Pairs(), loss=Loss(), optimizer=optimizer, batch_size=8, accumulate=2, epochs=2))
    assert rows[1]["val_loss"] < rows[0]["val_loss"]


@pytest.mark.usefixtures("context")
def test_the_learning_rate_is_a_column_where_there_is_a_schedule() -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    rows = _fit(model, optimizer=optimizer, scheduler=scheduler, epochs=3)
    assert [row["lr"] for row in rows] == [1.0, 0.5, 0.25]
    assert list(rows[0]) == ["train_loss", "val_loss", "lr", "micro_batch"]
    assert "lr" not in _fit()[0]


@pytest.mark.usefixtures("context")
def test_a_plateau_schedule_watches_the_validation_loss() -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    _fit(model, optimizer=optimizer, scheduler=scheduler, epochs=2)
    assert scheduler.num_bad_epochs + scheduler.last_epoch > 1


@pytest.mark.usefixtures("context")
def test_without_epochs_it_goes_on_until_nobody_asks() -> None:
    model = _model()
    rows = fit(
        model,
        _table(8),
        _table(8),
        loss=cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        batch_size=8,
    )
    assert len(list(islice(rows, 7))) == 7


def test_without_epochs_it_ends_after_the_last_epoch_of_its_trial(context: TrialContext) -> None:
    optimizer = torch.optim.SGD((model := _model()).parameters(), lr=0.1)
    rows = fit(model, _table(50), _table(23), loss=cross_entropy, batch_size=16, optimizer=optimizer)
    trained = []
    for row in rows:
        trained.append(row)
        context.is_over = len(trained) == 3  # as the trial's process is told that `limits.epochs` was reached
    assert len(trained) == 3


@pytest.mark.usefixtures("context")
def test_a_training_loss_that_is_not_finite_ends_it() -> None:
    with pytest.raises(Diverged, match="the training loss of epoch 1 is nan"):
        _fit(lr=float("inf"))


@pytest.mark.usefixtures("context")
def test_a_model_without_parameters_is_evaluated() -> None:
    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs[:, :2].requires_grad_()

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    rows = _fit(Constant(), optimizer=optimizer)
    assert rows[0] == pytest.approx(rows[1], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 15, "accumulate": 2}, "batch_size 15 can't be split over 1 workers with 2 micro-batches"),
        ({"accumulate": 0}, "with 0 micro-batches"),
        ({"batch_size": 0}, "batch_size 0 can't be split"),
    ],
)
@pytest.mark.usefixtures("context")
def test_a_batch_that_can_not_be_split_is_an_invalid_config(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        _fit(**settings)


@pytest.mark.usefixtures("context")
def test_a_metric_can_not_take_fits_own_column() -> None:
    with pytest.raises(ValueError, match="the name val_loss is reserved"):
        _fit(metrics={"val_loss": accuracy})


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sixteen_bits_train_to_nearly_the_same_loss(precision: str) -> None:
    rows = []
    for name in ("fp32", precision):
        torch.manual_seed(0)
        with activate(TrialContext(device="cpu", precision=name)):
            rows.append(_fit(epochs=5)[-1]["val_loss"])
    assert rows[0] != rows[1]
    assert rows[1] == pytest.approx(rows[0], rel=0.02)


def test_an_unknown_precision_is_refused_before_the_first_step() -> None:
    with (
        activate(TrialContext(device="cpu", precision="fp8")),
        pytest.raises(InvalidConfig, match=r"'fp8'\. Known: fp32"),
    ):
        _fit()


def _train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Everything that has a state: momentum, dropout, a schedule, noise in the data, a metric that draws."""
    model = _model(dropout=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    yield from fit(
        model,
        Jittered(_table(50)),
        _table(23, seed=1),
        loss=cross_entropy,
        optimizer=optimizer,
        batch_size=16,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
        metrics={"noise": lambda outputs, targets: random.random()},
    )


def _rows(folder: Path, epochs: int, **settings: Any) -> MetricsIterator:
    """An attempt in a slot: so many epochs, then a checkpoint and the end."""
    context = TrialContext(device="cpu", seed=5, checkpoint_dir=folder, **settings)
    with activate(context):
        stepper = make_stepper(_train, {}, context)
        rows = [row for _ in range(epochs) if (row := stepper.advance()) is not None]
        context.save()
        assert stepper.close()
    return rows


@pytest.mark.parametrize("settings", [{}, {"loader_workers": 2}, {"precision": "fp16"}])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = _rows(tmp_path / "whole", 5, **settings)
    parts = [row for epochs in (1, 3, 1) for row in _rows(tmp_path / "parts", epochs, **settings)]
    assert parts == whole
    assert len({row["val_loss"] for row in whole}) == 5


def test_the_number_of_loader_workers_changes_no_result(tmp_path: Path) -> None:
    assert _rows(tmp_path / "two", 2, loader_workers=2) == _rows(tmp_path / "none", 2, loader_workers=0)


def test_closing_ends_the_loader_workers() -> None:
    import multiprocessing

    with activate(TrialContext(device="cpu", loader_workers=1)) as context:
        stepper = make_stepper(_train, {}, context)
        stepper.advance()
        assert len(multiprocessing.active_children()) == 1, "training and validation share it"
        assert stepper.close()
        assert multiprocessing.active_children() == []


def test_an_error_in_the_data_ends_the_loader_workers_while_its_traceback_lives() -> None:
    import multiprocessing

    class Broken(Dataset[Any]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Any:
            raise LookupError("no such sample")

    model = _model()
    with activate(TrialContext(device="cpu", loader_workers=1)):
        rows = fit(
            model,
            Broken(),
            _table(8),
            loss=cross_entropy,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            batch_size=8,
        )
        with pytest.raises(LookupError, match="no such sample") as caught:
            next(rows)
    assert caught.value.__traceback__ is not None
    assert multiprocessing.active_children() == []


def test_fit_keeps_what_has_a_state(tmp_path: Path) -> None:
    from hpsearch.training.checkpoint import load_checkpoint

    _rows(tmp_path, 1, precision="fp16")
    found, _ = load_checkpoint(tmp_path, rank=0)
    assert found is not None
    assert set(found.states) == {"model", "optimizer", "scheduler", "scaler", "progress"}
