"""AlexNet on two GPUs, one with the convolutions, the other with the dense layers: model parallel.

By hand:   python -m experiments.alexnet                                               one process, the whole model
           torchrun --nproc-per-node=2 -m experiments.alexnet                          two, each with its half
Searched:  hpsearch sweep alexnet

A batch is cut into micro-batches that follow each other through the stages (GPipe), so that both are at work but for a
little while at the start and at the end. The images are those of `experiments/resnet.py`, scaled up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.nn.functional import cross_entropy

import hpsearch
from experiments.resnet import Normalise, load_images

IMAGE_SIZE = 64


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """One row an epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `width` (share of the paper's channels), `dropout`, `batch_size`, `micro_batches` (of a batch), `lr`,
            `momentum`, `weight_decay`.
    """
    trial = hpsearch.current_trial()
    images, labels, val_images, val_labels = hpsearch.shared_data(load_images, trial.data["root"])
    pipeline = Pipeline(make_stages(images, config["width"], config["dropout"]), config["micro_batches"])
    rates = {name: config[name] for name in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(pipeline.own.parameters(), **rates)
    start = trial.keep_own(stage=pipeline.own, optimizer=optimizer)  # each rank its own: the halves differ
    for epoch in count(start):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(trial.seed + epoch))
        batches = [batch for batch in order.split(config["batch_size"]) if len(batch) == config["batch_size"]]
        losses = [pipeline.train(images[batch], labels[batch], optimizer) for batch in batches]
        scores = pipeline.scores(val_images, config["batch_size"])
        yield pipeline.told_to_all(
            train_loss=torch.stack(losses).mean(),
            val_loss=cross_entropy(scores, val_labels),
            val_accuracy=(scores.argmax(dim=1) == val_labels).double().mean(),
        )


class Pipeline:
    """The stages of a model on as many processes, or all of them on one."""

    def __init__(self, stages: list[nn.Module], micro_batches: int) -> None:
        trial = hpsearch.current_trial()
        if trial.world_size not in (1, len(stages)):
            raise hpsearch.InvalidConfig(
                f"{len(stages)} stages run on 1 or {len(stages)} workers, not {trial.world_size}"
            )
        self.rank, self.last, self.device = trial.rank, trial.world_size - 1, trial.device
        self.own = (nn.Sequential(*stages) if self.last == 0 else stages[self.rank]).to(self.device)
        if self.last:
            stage = PipelineStage(self.own, self.rank, len(stages), self.device)
            self.schedule = ScheduleGPipe(stage, micro_batches, loss_fn=cross_entropy)

    def train(self, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step; returns the batch's loss, which only the last rank knows."""
        self.own.train()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        if self.last == 0:
            loss = cross_entropy(self.own(images.to(self.device)), labels.to(self.device))
            loss.backward()
        elif self.rank == 0:
            self.schedule.step(images.to(self.device))
        else:
            losses: list[Tensor] = []
            self.schedule.step(target=labels.to(self.device), losses=losses)
            loss = torch.stack(losses).mean()
        optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def scores(self, images: Tensor, batch_size: int) -> Tensor:
        """(image, class) on the CPU of the last rank, zeros on the others; all batches have the stages' one size."""
        self.own.eval()
        missing = -len(images) % batch_size
        padded = torch.cat([images, images[:1].expand(missing, -1, -1, -1)])
        parts = [self._forward(batch.to(self.device)).cpu() for batch in padded.split(batch_size)]
        return torch.cat(parts)[: len(images)]

    def _forward(self, images: Tensor) -> Tensor:
        if self.last == 0:
            return self.own(images)  # type: ignore[no-any-return]
        unused = torch.zeros(len(images), dtype=torch.int64, device=self.device)  # the schedule computes a loss anyway
        found = self.schedule.eval(images) if self.rank == 0 else self.schedule.eval(target=unused)
        return torch.zeros(len(images), 10) if found is None else found

    def told_to_all(self, **metrics: Tensor) -> dict[str, float]:
        """The last rank's numbers, on every rank: a sweep takes those of rank 0."""
        values = torch.stack([value.double().to(self.device) for value in metrics.values()])
        if self.last:
            dist.broadcast(values, src=self.last)
        return dict(zip(metrics, values.tolist(), strict=True))


def make_stages(images: Tensor, width: float, dropout: float) -> list[nn.Module]:
    """Convolutions: (batch, channel, height, width) of bytes to (batch, feature); dense layers: to scores (batch, 10).

    Args:
        images: What is normalised for.
        width: Share of the paper's channels and units.
        dropout: Share of the units.

    Source:
        Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.
    """
    a, b, c, d = (max(1, round(width * channels)) for channels in (64, 192, 384, 256))
    units = max(1, round(width * 4096))
    convolutions = nn.Sequential(
        Normalise(images), nn.Upsample(size=(IMAGE_SIZE, IMAGE_SIZE)),
        nn.Conv2d(images.shape[1], a, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
        nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2), nn.Flatten(),
    )  # fmt: skip
    dense = nn.Sequential(
        nn.Dropout(dropout), nn.Linear(d, units), nn.ReLU(),
        nn.Dropout(dropout), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 10),
    )  # fmt: skip
    return [convolutions, dense]


if __name__ == "__main__":
    torch.manual_seed(0)
    by_hand = {
        "width": 0.25, "dropout": 0.1, "batch_size": 64, "micro_batches": 4,
        "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4,
    }  # fmt: skip
    for row in islice(train(by_hand), 3):
        hpsearch.report(row)
