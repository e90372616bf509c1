"""A vision transformer whose weights, gradients and optimizer state are split over all GPUs (FSDP, `fully_shard`).

By hand:   python -m experiments.fsdp                                                  one process, nothing is split
           torchrun --nproc-per-node=2 -m experiments.fsdp
Searched:  hpsearch sweep fsdp

Each rank trains on its share of every batch, as in DistributedDataParallel, but holds only its part of each layer and
collects the rest while the layer is at work: for models that don't fit on one GPU. The images are those of
`experiments/resnet.py`.
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
    """One row an epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `width` (of a token; a multiple of 4), `depth` (layers), `patch` (pixels of a token's side),
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
            fully_shard(layer, mesh=mesh)  # what is split and collected at a time
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
    """One step on this rank's share of a batch; returns its mean loss. Gradients are means over the ranks."""
    device = hpsearch.current_trial().device
    model.train()
    optimizer.zero_grad(set_to_none=True)
    loss = cross_entropy(model(images.to(device)), labels.to(device))
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy; all ranks call the model equally often, since each call collects weights from all."""
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
    """`value`, summed over all processes of the trial."""
    if hpsearch.current_trial().world_size > 1:
        dist.all_reduce(value)
    return value


class Transformer(nn.Module):
    """Patches of an image become tokens that attend to each other; their mean is classified.

    Args:
        images: What is normalised for, (image, channel, height, width).
        width: Numbers of a token.
        depth: Layers.
        patch: Pixels of a token's side; divides height and width.

    Source:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv:2010.11929, with the mean in place of a class token.
    """

    def __init__(self, images: Tensor, width: int, depth: int, patch: int) -> None:
        super().__init__()
        tokens = (images.shape[2] // patch) * (images.shape[3] // patch)
        self.normalise = Normalise(images)
        self.patches = nn.Conv2d(images.shape[1], width, patch, stride=patch)
        self.places = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channel, height, width) of bytes to scores (batch, class)."""
        tokens: Tensor = self.patches(self.normalise(images)).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(dim=1))  # type: ignore[no-any-return]


if __name__ == "__main__":
    torch.manual_seed(0)
    by_hand = {"width": 32, "depth": 2, "patch": 2, "batch_size": 64, "lr": 3e-3, "weight_decay": 0.01}
    for row in islice(train(by_hand), 3):
        hpsearch.report(row)
