"""One training in the words of each framework: 32 samples, 4 steps of SGD over a batch of 8 of all ranks together.

Each gives one row: the loss of all samples after the last step, the weights, and which samples this rank trained on, as
the bits of a whole number. Weights begin with the rank's number, so that ranks only agree where rank 0's were handed
out. Frameworks are imported by those that use them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset, DistributedSampler

import hpsearch

SAMPLES, GLOBAL_BATCH, LR = 32, 8, 0.05
Row = dict[str, float]


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def batch_size() -> int:
    """Of each rank."""
    return GLOBAL_BATCH // int(os.environ.get("WORLD_SIZE", "1"))


class Numbers(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        self.x = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index], "index": torch.tensor(index)}


class Net(nn.Module):
    """A line of four weights that notes what it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), float(rank()), dtype=torch.float64))
        self.seen = 0

    def forward(self, x: Tensor, y: Tensor, index: Tensor) -> dict[str, Tensor]:
        if self.training:
            self.seen |= sum(1 << each for each in index.tolist())
        return {"loss": mse_loss(x @ self.weight, y)}


def row_of(net: Net, **more: float) -> Row:
    data = Numbers()
    with torch.no_grad():
        loss = mse_loss(data.x @ net.weight, data.y).item()
    weights = {f"weight{index}": value for index, value in enumerate(net.weight.tolist())}
    return {"loss": loss, "seen": net.seen, **weights, **more}


def plain_ddp(config: dict[str, Any]) -> Iterator[Row]:
    """As PyTorch's tutorial writes it for torchrun."""
    net, data = Net(), Numbers()
    model: nn.Module = net
    sampler: DistributedSampler[Any] | None = None
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
        model, sampler = nn.parallel.DistributedDataParallel(net), DistributedSampler(data, shuffle=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    for batch in DataLoader(data, batch_size=batch_size(), sampler=sampler):
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
    yield row_of(net)
    if dist.is_initialized():
        dist.destroy_process_group()


def fitted(config: dict[str, Any]) -> Iterator[Row]:
    net = Net()

    class Loss(nn.Module):
        def forward(self, found: Tensor, wanted: Tensor) -> Tensor:
            return mse_loss(found, wanted)

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            if self.training:
                net.seen |= sum(1 << each for each in inputs["index"].tolist())
            return inputs["x"] @ net.weight

    class Pairs(Dataset[tuple[dict[str, Tensor], Tensor]]):
        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
            sample = Numbers()[index]
            return {"x": sample["x"], "index": sample["index"]}, sample["y"]

    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    rows = hpsearch.fit(Line(), Pairs(), Pairs(), loss=Loss(), optimizer=optimizer, batch_size=GLOBAL_BATCH)
    for row in islice(rows, 1):
        yield row_of(net, val_loss=row["val_loss"])


def accelerated(config: dict[str, Any]) -> Iterator[Row]:
    from accelerate import Accelerator

    accelerator, net, data = Accelerator(cpu=True), Net(), Numbers()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    model, optimizer, loader = accelerator.prepare(net, optimizer, DataLoader(data, batch_size=batch_size()))
    for batch in loader:
        optimizer.zero_grad()
        accelerator.backward(model(**batch)["loss"])
        optimizer.step()
    yield row_of(net, processes=accelerator.num_processes, steps=len(loader))


def transformers_trainer(config: dict[str, Any]) -> None:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    net = Net()

    class Report(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            hpsearch.report(row_of(net, processes=args.world_size, steps=state.global_step))

    arguments = TrainingArguments(
        output_dir="out", num_train_epochs=1, per_device_train_batch_size=batch_size(), learning_rate=LR, optim="sgd",
        lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True, report_to=[], save_strategy="no",
        logging_strategy="no", disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False,
    )  # fmt: skip
    Trainer(model=net, args=arguments, train_dataset=Numbers(), callbacks=[Report()]).train()


def lightning_trainer(config: dict[str, Any]) -> None:
    """With what `config` gives a Trainer besides."""
    import pytorch_lightning as pl

    net = Net()

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
            return self.net(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=LR)

    class Report(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            hpsearch.report(row_of(net, processes=trainer.world_size, steps=trainer.global_step))

    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[Report()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **config,
    )  # fmt: skip
    data = Numbers()
    # with several ranks Lightning makes a sampler that shuffles, whatever the loader does: the same one without them
    sampler: DistributedSampler[Any] | None = None
    if trainer.world_size == 1:
        sampler = DistributedSampler(data, num_replicas=1, rank=0)
    trainer.fit(Module(), DataLoader(data, batch_size=batch_size(), sampler=sampler))


def lightning_fabric(config: dict[str, Any]) -> Iterator[Row]:
    from lightning_fabric import Fabric

    fabric, net = Fabric(accelerator="cpu", **config), Net()
    fabric.launch()
    model, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=LR))
    loader: Any = fabric.setup_dataloaders(DataLoader(Numbers(), batch_size=batch_size()))
    for batch in loader:
        optimizer.zero_grad()
        fabric.backward(model(**batch)["loss"])
        optimizer.step()
    yield row_of(net, processes=fabric.world_size, steps=len(loader))


def lightning_refused(config: dict[str, Any]) -> Iterator[Row]:
    """How many of `tries`, each a Trainer's or a Fabric's settings and words of the reason, are refused for it."""
    refused = 0
    for kind, settings, words in config["tries"]:
        try:
            if kind == "trainer":
                lightning_trainer(settings)
            else:
                next(lightning_fabric(settings))
        except hpsearch.InvalidConfig as error:
            assert words in str(error), error
            refused += 1
    yield {"loss": 0.0, "refused": refused}


def lightning_gpus(config: dict[str, Any]) -> Iterator[Row]:
    """How many devices `devices="auto"` stands for on GPUs."""
    from lightning_fabric.accelerators.cuda import CUDAAccelerator as OfFabric
    from pytorch_lightning.accelerators.cuda import CUDAAccelerator as OfTrainer

    yield {"loss": 0.0, "trainer": OfTrainer.auto_device_count(), "fabric": OfFabric.auto_device_count()}


def group_of_its_own(config: dict[str, Any]) -> Iterator[Row]:
    """A script's process group comes first: `current_trial` and `fit` take it."""
    dist.init_process_group("gloo")
    mine = dist.group.WORLD
    hpsearch.current_trial()
    next(iter(fitted(config)))
    yield {"loss": float(dist.group.WORLD is mine), "processes": dist.get_world_size()}


def no_group(config: dict[str, Any]) -> Iterator[Row]:
    """A script that makes none gets one from `current_trial`."""
    before = dist.is_initialized()
    trial = hpsearch.current_trial()
    total = torch.tensor(float(trial.rank + 1))
    dist.all_reduce(total)
    yield {"loss": total.item(), "before": before, "processes": dist.get_world_size()}


def nothing_in_common(config: dict[str, Any]) -> Iterator[Row]:
    """A script of one process."""
    yield {"loss": 0.0}
