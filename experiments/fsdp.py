"""FSDP: a vision transformer whose weights, gradients and optimizer state are split over all GPUs (`fully_shard`).

By hand:   python -m experiments.fsdp                                    one process, nothing is split
           torchrun --nproc-per-node=2 -m experiments.fsdp               two processes with half of the model each
Sweep:     hpsearch sweep fsdp

As in DistributedDataParallel, each rank trains on its share of every batch. But it holds only its shard of each layer,
and gathers the others while the layer computes: for models that do not fit on one GPU. The images are those of
`experiments/resnet.py`.

Source:
    Zhao et al., "PyTorch FSDP", arXiv:2304.11277; https://pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy

import hpsearch
from experiments.resnet import Normalise, load_images
from hpsearch.training.shards import Shards


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Yield the metrics of each epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `width` (features of a token, a multiple of 4), `depth` (layers), `patch` (side of a patch in pixels),
            `batch_size` (over all workers, a multiple of their number), `lr`, `weight_decay`.
    """
    trial = hpsearch.current_trial()
    if config["batch_size"] % trial.world_size:
        raise hpsearch.InvalidConfig(
            f"batch_size {config['batch_size']} can't be split over {trial.world_size} workers"
        )
    images, labels, val_images, val_labels = hpsearch.shared_data(load_images, trial.data["root"])
    model = Transformer(images, config["width"], config["depth"], config["patch"]).to(trial.device)
    if trial.world_size > 1:
        mesh = init_device_mesh(trial.device.type, (trial.world_size,))
        for layer in model.layers:
            fully_shard(layer, mesh=mesh)  # each layer is split and gathered as one unit
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    start = trial.keep_own(shards=Shards(model, optimizer))
    for epoch in count(start):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(trial.seed + epoch))
        batches = [batch for batch in order.split(config["batch_size"]) if len(batch) == config["batch_size"]]
        own = [batch[trial.rank :: trial.world_size] for batch in batches]
        losses = [step(model, optimizer, images[part], labels[part]) for part in own]
        train_loss = sum_over_ranks(torch.stack(losses).sum()) / (len(losses) * trial.world_size)
        val_loss, val_accuracy = evaluate(model, val_images, val_labels)
        yield {"train_loss": float(train_loss), "val_loss": val_loss, "val_accuracy": val_accuracy}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Tensor:
    """Make one optimizer step on this rank's share of a batch; FSDP averages the gradients over ranks.

    Args:
        model: The model, split or not.
        optimizer: Optimizer of its parameters.
        images: uint8, (batch, channel, height, width), on the CPU.
        labels: int64, (batch,), on the CPU.

    Returns:
        The mean loss of this rank's samples: float32, (), on this rank's device.
    """
    device = hpsearch.current_trial().device
    model.train()
    optimizer.zero_grad(set_to_none=True)
    loss = cross_entropy(model(images.to(device)), labels.to(device))
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy over all ranks.

    All ranks must call the model equally often, because each call gathers weights from all ranks.
    """
    trial = hpsearch.current_trial()
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=trial.device)
    for some_images, some_labels in zip(images.split(256), labels.split(256), strict=True):
        targets = some_labels[trial.rank :: trial.world_size].to(trial.device)
        scores = model(some_images[trial.rank :: trial.world_size].to(trial.device))
        sums[0] += cross_entropy(scores, targets, reduction="sum")
        sums[1] += (scores.argmax(dim=1) == targets).sum()
    loss, accuracy = (sum_over_ranks(sums) / len(images)).tolist()
    return loss, accuracy


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a tensor in place over all ranks of the trial, and return it."""
    if hpsearch.current_trial().world_size > 1:
        dist.all_reduce(value)
    return value


class Transformer(nn.Module):
    """A vision transformer: the patches of an image are tokens that attend to each other; their mean is classified.

    Args:
        images: Training images, whose mean and deviation normalise the input: uint8, (image, channel, height, width).
        width: Features of a token.
        depth: Number of layers.
        patch: Side of a patch in pixels; divides height and width.

    Source:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv:2010.11929, with the mean instead of a class token.
    """

    def __init__(self, images: Tensor, width: int, depth: int, patch: int) -> None:
        super().__init__()
        tokens = (images.shape[2] // patch) * (images.shape[3] // patch)
        self.normalise = Normalise(images)
        self.patches = nn.Conv2d(images.shape[1], width, patch, stride=patch)
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (batch, channel, height, width) to logits (batch, class)."""
        tokens: Tensor = self.patches(self.normalise(images)).flatten(2).transpose(1, 2) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(dim=1))  # type: ignore[no-any-return]


if __name__ == "__main__":
    torch.manual_seed(0)
    by_hand = {"width": 32, "depth": 2, "patch": 2, "batch_size": 64, "lr": 3e-3, "weight_decay": 0.01}
    for metrics in islice(train(by_hand), 3):
        hpsearch.report(metrics)
