"""The searched network of `experiments/nas.py`, and how it is told in words."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import nas
from hpsearch.errors import InvalidConfig
from hpsearch.results.labels import config_lines
from hpsearch.space.space import to_config
from hpsearch.spec.file import load_sweep

SPEC = Path(__file__).parents[3] / "search_spaces" / "nas.yaml"
LAYERS: list[Mapping[str, Any]] = [
    {"kind": "conv", "kernel": 3, "width": 8},
    {"kind": "max_pool", "kernel": 5, "reads": {"layer1": False}},
    {"kind": "separable", "kernel": 3, "width": 16, "reads": {"layer1": True, "layer2": True}},
    {"kind": "conv", "kernel": 3, "width": 32, "reads": {"layer1": True, "layer2": False, "layer3": False}},
]


def test_layers_read_what_they_are_connected_to_and_loose_ends_go_to_the_classifier():
    model = nas.Stacked(3, LAYERS)
    assert model.sources == [[], [], [0, 1], [0]]
    separable: Any = model.layers[2]
    assert separable[0].in_channels == 8 + 3  # a pool that reads the image keeps its channels
    assert model.ends == [2, 3]
    assert model.head.in_features == 16 + 32
    assert model(torch.zeros(5, 3, 8, 8)).shape == (5, 10)


def test_every_network_of_the_shipped_space_can_be_built():
    space, rng = load_sweep(SPEC).space, random.Random(0)
    for _ in range(60):
        config = to_config(space.draw(rng))
        layers = [config[f"layer{number}"] for number in range(1, 5)]
        assert nas.Stacked(1, layers)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_an_unknown_kind_is_the_configurations_fault():
    with pytest.raises(InvalidConfig, match="kind must be conv, separable or max_pool, got 'dense'"):
        nas.Stacked(1, [{"kind": "dense", "kernel": 3, "width": 8}])


def test_it_learns_the_digits():
    config = {**{f"layer{i}": layer for i, layer in enumerate(LAYERS, start=1)}, "lr": 3e-3, "batch_size": 128}
    rows = list(islice(nas.train(config), 5))
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert rows[-1]["val_accuracy"] > 0.5


def test_an_architecture_is_told_in_words():
    config = {"layer1": LAYERS[0], "layer2": LAYERS[1], "layer3": LAYERS[2], "lr": 3e-3, "net": {"augment": False}}
    assert config_lines(config) == [
        "layer1: kind conv, kernel 3, width 8",
        "layer2: kind max_pool, kernel 5, reads nothing",
        "layer3: kind separable, kernel 3, width 16, reads layer1 and layer2",
        "net: no augment",
    ]
