"""A small network on a small table: 569 tumours, 30 measurements each, benign or malignant. A trial takes a blink.

By hand:   python experiments/mlp.py --set lr=0.01
Searched:  hpsearch sweep mlp
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import hpsearch
from hpsearch.training.metrics import accuracy

NUM_FEATURES, NUM_CLASSES = 30, 2


def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """One row an epoch: train_loss, val_loss, val_accuracy.

    Args:
        config: `hidden` (units of a layer), `layers`, `dropout` (share), `batch_size`, `lr`, `weight_decay`.
    """
    train_set, val_set = load_table()
    model = make_model(config["hidden"], config["layers"], config["dropout"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    yield from hpsearch.fit(
        model,
        train_set,
        val_set,
        loss=cross_entropy,
        optimizer=optimizer,
        batch_size=config["batch_size"],
        metrics={"val_accuracy": accuracy},
    )


def make_model(hidden: int, layers: int, dropout: float) -> nn.Sequential:
    """`layers` hidden layers of `hidden` units: (batch, feature) to scores (batch, class)."""
    sizes = [NUM_FEATURES] + [hidden] * layers
    parts = [(nn.Linear(size_in, size), nn.ReLU(), nn.Dropout(dropout)) for size_in, size in pairwise(sizes)]
    return nn.Sequential(*(module for part in parts for module in part), nn.Linear(hidden, NUM_CLASSES))


@cache  # a slot trains many trials in one process
def load_table() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation set, a quarter of the table, always the same; features scaled by the training set."""
    try:
        from sklearn.datasets import load_breast_cancer
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError("the table comes with scikit-learn: pip install scikit-learn") from error
    features, labels = load_breast_cancer(return_X_y=True)
    parts = train_test_split(features, labels, test_size=0.25, stratify=labels, random_state=0)
    scaler = StandardScaler().fit(parts[0])
    train_features, val_features = (torch.from_numpy(scaler.transform(part)).float() for part in parts[:2])
    train_labels, val_labels = (torch.from_numpy(part).long() for part in parts[2:])
    return TensorDataset(train_features, train_labels), TensorDataset(val_features, val_labels)


if __name__ == "__main__":
    hpsearch.trial("mlp", train, ["--set", "limits.epochs=5", *sys.argv[1:]])
