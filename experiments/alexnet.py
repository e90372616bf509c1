"""Model parallelism: AlexNet on two GPUs, one with the convolutions, the other with the dense layers.

By hand:   python -m experiments.alexnet                                 one process with the whole model
           torchrun --nproc-per-node=2 -m experiments.alexnet            two processes with one stage each
Sweep:     hpsearch sweep alexnet

Each batch is split into micro-batches that pass through the stages one after the other (GPipe), so that both stages
work at the same time except at the start and the end of a batch. The images are those of `experiments/resnet.py`,
scaled up.

Source:
    Huang et al., "GPipe", arXiv:1811.06965; https://pytorch.org/docs/stable/distributed.pipelining.html.
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
"""Height and width, in pixels, to which the images are scaled up."""


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Yield the metrics of each epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `width` (share of the paper's channels), `dropout` (probability), `batch_size`, `micro_batches` (per
            batch), `lr`, `momentum`, `weight_decay`.
    """
    trial = hpsearch.current_trial()
    images, labels, val_images, val_labels = hpsearch.shared_data(load_images, trial.data["root"])
    pipeline = Pipeline(make_stages(images, config["width"], config["dropout"]), config["micro_batches"])
    rates = {name: config[name] for name in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(pipeline.own.parameters(), **rates)
    start = trial.keep_own(stage=pipeline.own, optimizer=optimizer)  # each rank has another stage
    for epoch in count(start):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(trial.seed + epoch))
        batches = [batch for batch in order.split(config["batch_size"]) if len(batch) == config["batch_size"]]
        losses = [pipeline.train(images[batch], labels[batch], optimizer) for batch in batches]
        scores = pipeline.scores(val_images, config["batch_size"])
        yield pipeline.broadcast(
            train_loss=torch.stack(losses).mean(),
            val_loss=cross_entropy(scores, val_labels),
            val_accuracy=(scores.argmax(dim=1) == val_labels).double().mean(),
        )


class Pipeline:
    """The stages of a model, each on a process of its own, or all on one process.

    Args:
        stages: The stages, in order.
        micro_batches: Micro-batches into which each batch is split; without effect on one process.

    Raises:
        InvalidConfig: The number of workers is neither 1 nor the number of stages.
    """

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
        """Make one optimizer step.

        Args:
            images: uint8, (batch, channel, height, width), on the CPU.
            labels: int64, (batch,), on the CPU.
            optimizer: Optimizer of this rank's stage.

        Returns:
            The mean loss of the batch on the last rank, 0 on the others: float32, (), on this rank's device.
        """
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
        """Logits of images.

        The last batch is padded, because the stages accept only one batch size.

        Returns:
            float32, (image, class), on the CPU; zeros except on the last rank.
        """
        self.own.eval()
        missing = -len(images) % batch_size
        padded = torch.cat([images, images[:1].expand(missing, -1, -1, -1)])
        parts = [self._forward(batch.to(self.device)).cpu() for batch in padded.split(batch_size)]
        return torch.cat(parts)[: len(images)]

    def _forward(self, images: Tensor) -> Tensor:
        if self.last == 0:
            return self.own(images)  # type: ignore[no-any-return]
        unused = torch.zeros(len(images), dtype=torch.int64, device=self.device)  # the schedule always computes a loss
        scores = self.schedule.eval(images) if self.rank == 0 else self.schedule.eval(target=unused)
        return torch.zeros(len(images), 10) if scores is None else scores

    def broadcast(self, **metrics: Tensor) -> dict[str, float]:
        """Send the metrics of the last rank to all ranks, because a sweep uses those of rank 0."""
        values = torch.stack([value.double().to(self.device) for value in metrics.values()])
        if self.last:
            dist.broadcast(values, src=self.last)
        return dict(zip(metrics, values.tolist(), strict=True))


def make_stages(images: Tensor, width: float, dropout: float) -> list[nn.Module]:
    """The two stages of AlexNet.

    The convolutions map uint8 (batch, channel, height, width) to float32 (batch, feature); the dense layers map these
    to logits (batch, 10).

    Args:
        images: Training images, whose mean and deviation normalise the input.
        width: Share of the paper's channels and units.
        dropout: Probability that a unit is dropped.

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
    for metrics in islice(train(by_hand), 3):
        hpsearch.report(metrics)
