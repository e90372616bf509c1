"""What `fit` does beside the plain loop, one option at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import TensorDataset

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


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture(autouse=True)
def context() -> Iterator[TrialContext]:
    """One rank on the CPU."""
    with activate(TrialContext(device="cpu")) as context:
        yield context


def _fit(model: nn.Module | None = None, *, lr: float = 0.1, **changes: Any) -> MetricsIterator:
    """50 samples in steps of 16: 4 an epoch."""
    model = model or _model()
    optimizer = changes.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=lr)
    settings: dict[str, Any] = {"loss": cross_entropy, "batch_size": 16, "epochs": 2}
    return list(fit(model, _table(50), _table(23, seed=1), optimizer=optimizer, **(settings | changes)))


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_schedule_is_stepped_with_each_optimizer_step_and_its_rate_is_a_column() -> None:
    rates: list[float] = []
    optimizer = torch.optim.SGD((model := _model()).parameters(), lr=1.0)
    rows = _fit(
        model,
        optimizer=optimizer,
        schedule="linear",
        warmup_epochs=0.5,
        on_step=lambda step, loss: rates.append(optimizer.param_groups[0]["lr"]),
    )
    assert rates == pytest.approx([2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])
    assert [row["lr"] for row in rows] == pytest.approx([1 / 3, 4 / 6])


def test_a_limit_of_steps_ends_in_the_middle_of_an_epoch() -> None:
    steps: list[int] = []
    rows = _fit(epochs=9, steps=6, on_step=lambda step, loss: steps.append(step))
    assert len(rows) == 2
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_loss_of_a_cut_epoch_is_the_mean_over_what_it_saw() -> None:
    seen: list[float] = []
    (row,) = _fit(steps=3, on_step=lambda step, loss: seen.append(loss.item()))
    assert row["train_loss"] == pytest.approx(sum(seen) / 48)


def test_between_evaluations_the_last_values_stand_and_say_so() -> None:
    evaluated = 0

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal evaluated
        evaluated += 1
        return accuracy(outputs, targets)

    rows = _fit(epochs=7, eval_every=3, eval_batch_size=23, metrics={"val_accuracy": counted})
    assert [row["val_epoch"] for row in rows] == [1, 1, 3, 3, 3, 6, 7]
    assert evaluated == 4
    assert rows[4]["val_loss"] == rows[3]["val_loss"] == rows[2]["val_loss"] != rows[5]["val_loss"]
    assert rows[4]["train_loss"] != rows[3]["train_loss"]


def test_gradients_are_clipped_over_all_parameters() -> None:
    norms: list[float] = []
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())  # type: ignore[union-attr]
    )
    _fit(model, optimizer=optimizer, clip_norm=0.01)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_fp16_is_clipped_after_its_scale_is_taken_back() -> None:
    rows = [_fit(precision=precision, clip_norm=0.1)[-1]["val_loss"] for precision in ("fp32", "fp16")]
    assert rows[1] == pytest.approx(rows[0], rel=0.02)


def test_the_average_of_the_weights_is_what_is_evaluated() -> None:
    model = _model()
    shadow = _weights(model)
    steps = 0

    def follow(step: int, loss: Tensor) -> None:
        nonlocal shadow, steps
        steps += 1
        shadow = _weights(model) if steps == 1 else 0.9 * shadow + 0.1 * _weights(model)

    plain, averaged = _fit(lr=0.5), _fit(model, lr=0.5, ema_decay=0.9, on_step=follow)
    assert [row["train_loss"] for row in averaged] == [row["train_loss"] for row in plain]
    twin = _model()
    nn.utils.vector_to_parameters(shadow, twin.parameters())
    inputs, targets = _table(23, seed=1).tensors
    assert averaged[-1]["val_loss"] == pytest.approx(cross_entropy(twin(inputs), targets).item(), rel=1e-5)
    assert averaged[-1]["val_loss"] != plain[-1]["val_loss"]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_precision_may_come_from_the_config(precision: str) -> None:
    seen: list[str] = []
    before = torch.get_float32_matmul_precision()
    row = _fit(precision=precision, on_step=lambda step, loss: seen.append(torch.get_float32_matmul_precision()))[-1]
    assert (row["val_loss"] == _fit()[-1]["val_loss"]) == (precision == "tf32"), "a CPU has no TF32"
    assert (seen[0] == "high") == (precision == "tf32")
    assert torch.get_float32_matmul_precision() == before


def test_steps_that_overflow_in_fp16_are_skipped_counted_and_not_scheduled() -> None:
    optimizer = torch.optim.SGD((model := _model()).parameters(), lr=1.0)
    rows = _fit(model, optimizer=optimizer, precision="fp16", loss=lambda o, t: 4.0 * cross_entropy(o, t))
    assert rows[0]["skipped_steps"] > 0
    assert rows[1]["skipped_steps"] == 0


def test_a_loss_that_stays_infinite_in_fp16_is_divergence() -> None:
    with pytest.raises(Diverged):
        _fit(precision="fp16", loss=lambda outputs, targets: outputs.mean() * float("inf"))


def test_a_compiled_model_trains_to_the_same_losses_and_keeps_its_names() -> None:
    model = _model()
    compiled = _fit(model, compile="eager")
    assert compiled[1] == pytest.approx(_fit()[1])
    assert set(model.state_dict()) == set(_model().state_dict())
    assert model._compiled_call_impl is not None


def test_channels_last_reaches_weights_and_images() -> None:
    strides: set[tuple[int, ...]] = set()

    class Watched(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            strides.add(input.stride())
            return super().forward(input)

    model = nn.Sequential(conv := Watched(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = TensorDataset(torch.randn(8, 3, 6, 6), torch.zeros(8, dtype=torch.long))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    next(fit(model, images, images, loss=cross_entropy, optimizer=optimizer, batch_size=8, channels_last=True))
    assert strides == {(108, 1, 18, 3)}
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"clip_norm": 0.0}, InvalidConfig, "clip_norm must be above 0, got 0.0"),
        ({"ema_decay": 1.0}, InvalidConfig, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"precision": "bf61"}, InvalidConfig, "unknown precision 'bf61'. Did you mean 'bf16'"),
        ({"eval_every": 0}, InvalidConfig, "eval_every must be at least 1"),
        ({"steps": 0}, InvalidConfig, "steps must be at least 1"),
        ({"warmup_epochs": -1}, InvalidConfig, "warmup_epochs must be at least 0"),
        ({"schedule": "cosine", "epochs": None}, ValueError, "Set epochs or steps"),
        ({"metrics": {"micro_batch": accuracy}}, ValueError, "the name micro_batch is reserved"),
    ],
)
def test_an_option_out_of_range_is_refused_before_the_first_step(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _fit(**settings)


def test_a_scheduler_and_a_schedule_are_one_too_many() -> None:
    optimizer = torch.optim.SGD((model := _model()).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="not both"):
        _fit(model, optimizer=optimizer, scheduler=StepLR(optimizer, 1), schedule="cosine")


class Tempered(nn.Module):
    """A loss that learns its temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs / self.temperature, targets)


def test_a_loss_with_parameters_is_kept_too(tmp_path: Path) -> None:
    with activate(TrialContext(device="cpu", checkpoint_dir=tmp_path)) as context:
        _fit(loss=(loss := Tempered()), optimizer=torch.optim.SGD([*_model().parameters(), *loss.parameters()], lr=0.1))
        context.epochs_done = 2
        context.save()
    assert torch.load(tmp_path / "epoch-000002.rank-0.pt", weights_only=True)["states"]["loss"] == {
        "temperature": loss.temperature
    }
    assert loss.temperature != 1


def test_several_ranks_refuse_a_loss_with_parameters() -> None:
    with activate(TrialContext(device="cpu", world_size=2)), pytest.raises(ValueError, match="part of the model"):
        _fit(loss=Tempered())


def test_synchronised_batch_norms_need_gpus() -> None:
    with (
        activate(TrialContext(device="cpu", world_size=2)),
        pytest.raises(InvalidConfig, match="PyTorch synchronises batch norms on GPUs only"),
    ):
        _fit(sync_batch_norm=True)


OPTIONS: dict[str, Any] = {
    "schedule": "cosine",
    "warmup_epochs": 1,
    "clip_norm": 0.5,
    "ema_decay": 0.9,
    "eval_every": 2,
    "epochs": 5,
}


def _train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    yield from fit(
        model, _table(50), _table(23), loss=cross_entropy, optimizer=optimizer, batch_size=16, **OPTIONS | config
    )


def _attempt(folder: Path, epochs: int, config: dict[str, Any]) -> MetricsIterator:
    context = TrialContext(device="cpu", seed=5, checkpoint_dir=folder)
    with activate(context):
        stepper = make_stepper(_train, config, context)
        rows = [row for _ in range(epochs) if (row := stepper.advance()) is not None]
        context.save()
        assert stepper.close()
    return rows


@pytest.mark.parametrize("config", [{}, {"precision": "bf16"}, {"precision": "fp16"}, {"steps": 18}])
def test_with_every_option_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, config: dict[str, Any]) -> None:
    whole = _attempt(tmp_path / "whole", 5, config)
    parts = [row for epochs in (1, 2, 2) for row in _attempt(tmp_path / "parts", epochs, config)]
    assert parts == whole
    assert len(whole) == 5
