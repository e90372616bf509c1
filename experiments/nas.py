"""A small network whose layers, and the connections between them, are searched.

Searched:  hpsearch sweep nas
Again:     hpsearch trial nas --set layer2.width=32
Images:    as `experiments/resnet.py`: the digits, or CIFAR-10 from `data.root`

Each layer reads the outputs of the earlier layers that it is connected to, put beside each other; one without any reads
the image. What no layer reads goes to the classifier. As in the paper's skip connections, any combination is a network.

Source:
    Zoph and Le, "Neural Architecture Search with Reinforcement Learning", arXiv:1611.01578, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import hpsearch
from experiments.resnet import Normalise, load_images
from hpsearch.training.metrics import accuracy


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """One row an epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `layer1`, `layer2`, ... (see `Stacked`), `lr` and `batch_size`.
    """
    images, labels, val_images, val_labels = load_images(hpsearch.current_trial().data["root"])
    layers = [config[name] for name in sorted(config) if name.startswith("layer")]
    model = nn.Sequential(Normalise(images), Stacked(images.shape[1], layers))
    yield from hpsearch.fit(
        model,
        TensorDataset(images, labels),
        TensorDataset(val_images, val_labels),
        loss=cross_entropy,
        optimizer=torch.optim.AdamW(model.parameters(), lr=config["lr"]),
        batch_size=config["batch_size"],
        metrics={"val_accuracy": accuracy},
    )


class Stacked(nn.Module):
    """Layers that read the image or each other.

    Args:
        channels: Of the images.
        layers: Of each: `kind` (conv, separable, max_pool), `kernel` (odd), `width` (channels; pools have none), and
            `reads`, a map of `layerN` to whether it reads that earlier layer.
    """

    def __init__(self, channels: int, layers: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self.sources = [_sources(layer.get("reads", {})) for layer in layers]
        widths: list[int] = []
        self.layers = nn.ModuleList()
        for layer, sources in zip(layers, self.sources, strict=True):
            channels_in = sum(widths[source] for source in sources) or channels
            widths.append(layer.get("width", channels_in))
            self.layers.append(_make_layer(layer["kind"], layer["kernel"], channels_in, widths[-1]))
        read = {source for sources in self.sources for source in sources}
        self.ends = [index for index in range(len(layers)) if index not in read]
        self.head = nn.Linear(sum(widths[index] for index in self.ends), 10)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channel, height, width), normalised, to scores (batch, class)."""
        outputs: list[Tensor] = []
        for layer, sources in zip(self.layers, self.sources, strict=True):
            given = [outputs[source] for source in sources] or [images]
            outputs.append(layer(torch.cat(given, dim=1)))
        features = torch.cat([outputs[index] for index in self.ends], dim=1)
        return self.head(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def _sources(reads: Mapping[str, bool]) -> list[int]:
    """Numbers, from 0, of the layers that are read."""
    return sorted(int(name.removeprefix("layer")) - 1 for name, is_read in reads.items() if is_read)


def _make_layer(kind: str, kernel: int, channels_in: int, width: int) -> nn.Module:
    """A layer that keeps height and width."""
    if kind == "max_pool":
        return nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)
    after = (nn.BatchNorm2d(width), nn.ReLU())
    if kind == "conv":
        return nn.Sequential(nn.Conv2d(channels_in, width, kernel, padding=kernel // 2, bias=False), *after)
    if kind == "separable":
        each = nn.Conv2d(channels_in, channels_in, kernel, padding=kernel // 2, groups=channels_in, bias=False)
        return nn.Sequential(each, nn.Conv2d(channels_in, width, kernel_size=1, bias=False), *after)
    raise hpsearch.InvalidConfig(f"kind must be conv, separable or max_pool, got {kind!r}")
