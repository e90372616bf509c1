"""Residual networks for small images: CIFAR-10 where its files are at hand, else scikit-learn's digits.

By hand:   python experiments/resnet.py --set optimizer.lr=0.1
Two ranks: torchrun --nproc-per-node 2 experiments/resnet.py --set optimizer.lr=0.1
Searched:  hpsearch sweep resnet
CIFAR-10:  hpsearch sweep resnet --set data.root=DIR, with the files of its binary version in DIR

The learning rate is constant, so that a trial does not depend on how long it will be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, relu
from torch.utils.data import Dataset, TensorDataset

import hpsearch
from hpsearch.training.metrics import accuracy


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """One row an epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `model.width` (channels of the first stage), `model.depth` (6n + 2 layers), `batch_size`, `augment`,
            and `optimizer` (see `make_optimizer`).
    """
    images, labels, val_images, val_labels = load_images(hpsearch.current_trial().data["root"])
    model = nn.Sequential(
        Normalise(images), ResNet(images.shape[1], config["model"]["width"], config["model"]["depth"])
    )
    yield from hpsearch.fit(
        model,
        Augmented(images, labels) if config["augment"] else TensorDataset(images, labels),
        TensorDataset(val_images, val_labels),
        loss=cross_entropy,
        optimizer=make_optimizer(model, config["optimizer"]),
        batch_size=config["batch_size"],
        metrics={"val_accuracy": accuracy},
    )


def make_optimizer(model: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """SGD with Nesterov's momentum, or AdamW, whose first beta is then `momentum`."""
    rates = {"lr": settings["lr"], "weight_decay": settings["weight_decay"]}
    if settings["name"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=settings["momentum"], nesterov=True, **rates)
    return torch.optim.AdamW(model.parameters(), betas=(settings["momentum"], 0.999), **rates)


class ResNet(nn.Module):
    """Three stages of n blocks, each stage with half the resolution and twice the channels of the one before.

    Args:
        channels: Of the images.
        width: Channels of the first stage; 16 in the paper.
        depth: Weighted layers, 6n + 2: 8, 14, 20, 32, 44, 56.

    Raises:
        InvalidConfig: No n gives this depth.

    Source:
        He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2, shortcuts of option A.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise hpsearch.InvalidConfig(f"a ResNet for small images has 6n + 2 layers: 8, 14, 20, ...; got {depth}")
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.stem = nn.Sequential(_conv(channels, width, stride=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stages = nn.Sequential(
            *(Block(width, width, stride=1) for _ in range(num_blocks)),
            *(Block(width * (2 if i else 1), width * 2, stride=1 if i else 2) for i in range(num_blocks)),
            *(Block(width * (4 if i else 2), width * 4, stride=1 if i else 2) for i in range(num_blocks)),
        )
        self.head = nn.Linear(width * 4, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channel, height, width), normalised, to scores (batch, class)."""
        features: Tensor = self.stages(self.stem(images))
        return self.head(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two convolutions beside a shortcut that has no weights: every other pixel, and zeros for the new channels."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, channels - channels_in
        self.first = nn.Sequential(_conv(channels_in, channels, stride), nn.BatchNorm2d(channels), nn.ReLU())
        self.second = nn.Sequential(_conv(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels_in, height, width) to (batch, channels, height / stride, width / stride)."""
        shortcut = features[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            shortcut = pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))
        return relu(self.second(self.first(features)) + shortcut)


def _conv(channels_in: int, channels_out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)


class Normalise(nn.Module):
    """Bytes to floats with mean 0 and deviation 1 in each channel of the given images; done where the model is."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        levels = torch.arange(256.0)
        shares = torch.stack([channel.flatten().bincount(minlength=256) for channel in images.unbind(1)]).double()
        shares /= shares.sum(dim=1, keepdim=True)
        mean = shares @ levels.double()
        variance = (shares * (levels - mean[:, None]) ** 2).sum(dim=1)
        self.register_buffer("mean", mean.float()[:, None, None])
        self.register_buffer("deviation", variance.sqrt().float()[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """uint8, (batch, channel, height, width), to float32 of the same shape."""
        return (images.float() - self.mean) / self.deviation


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images shifted at random by up to an eighth of their size; photographs are also mirrored, digits are not."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.margin = images.shape[-1] // 8
        self.mirrored = images.shape[1] == 3
        self.images = pad(images, (self.margin,) * 4)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        top, left, mirror = torch.randint(2 * self.margin + 1, (3,)).tolist()
        size = self.images.shape[-1] - 2 * self.margin
        image = self.images[index, :, top : top + size, left : left + size]
        if self.mirrored and mirror % 2:
            image = image.flip(-1)
        return image, self.labels[index]


Split = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training images, uint8, (image, channel, height, width), and labels, int64; then the same for validation."""


@cache  # a slot trains many trials in one process
def load_images(root: str | None) -> Split:
    """CIFAR-10 from the folder `root`, or the digits where it is None."""
    return _load_digits() if root is None else _load_cifar(Path(root))


def _load_digits() -> Split:
    """1797 images, 8 x 8, one channel, 16 grey levels; a fifth for validation, always the same."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install scikit-learn") from error
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    train, val = (torch.from_numpy(part.astype("uint8")).view(-1, 1, 8, 8) for part in parts[:2])
    return train, torch.from_numpy(parts[2]), val, torch.from_numpy(parts[3])


def _load_cifar(root: Path) -> Split:
    """50000 images for training, 10000 for validation, 32 x 32, RGB."""
    batches = sorted(root.glob("data_batch_*.bin"))
    if not batches:
        raise FileNotFoundError(f"no data_batch_*.bin in {root}; expected the files of CIFAR-10's binary version")
    images, labels = zip(*(_read_cifar(path) for path in batches), strict=True)
    return torch.cat(images), torch.cat(labels), *_read_cifar(root / "test_batch.bin")


def _read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Records of one byte for the label, then 1024 each for red, green and blue."""
    records = numpy.fromfile(path, dtype="uint8")
    if records.size % 3073:
        raise ValueError(f"{path}: {records.size} bytes are no multiple of 3073; the file is cut short or no CIFAR-10")
    table = torch.from_numpy(records.reshape(-1, 3073))
    return table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0].long()


if __name__ == "__main__":
    hpsearch.trial("resnet", train, ["--set", "limits.epochs=3", *sys.argv[1:]])
