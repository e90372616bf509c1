from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from experiments import mlp, resnet
from hpsearch.errors import InvalidConfig
from hpsearch.training.context import TrialContext, activate

RESNET: dict[str, Any] = {
    "model": {"width": 4, "depth": 8},
    "batch_size": 128,
    "augment": False,
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
}
MLP: dict[str, Any] = {
    "hidden": 16,
    "layers": 2,
    "dropout": 0.1,
    "batch_size": 32,
    "lr": 3e-3,
    "weight_decay": 1e-2,
}


def _write_cifar(folder: Path, *, images_a_file: int = 40) -> numpy.ndarray[Any, Any]:
    """Files of CIFAR-10's binary layout with random pixels; returns the records of the first."""
    generator = numpy.random.default_rng(0)
    files = {}
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        records = generator.integers(0, 256, size=(images_a_file, 3073), dtype="uint8")
        records[:, 0] = numpy.arange(images_a_file) % 10
        files[name] = records
        records.tofile(folder / name)
    return files["data_batch_1.bin"]


@pytest.fixture(autouse=True)
def _on_the_cpu() -> Any:
    torch.manual_seed(0)
    resnet.load_images.cache_clear()
    with activate(TrialContext(device="cpu")):
        yield


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_a_resnet_has_as_many_weighted_layers_as_it_says(depth: int) -> None:
    model = resnet.ResNet(1, 4, depth)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == depth
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_resnet_20_has_the_papers_number_of_parameters() -> None:
    num_parameters = sum(parameter.numel() for parameter in resnet.ResNet(3, 16, 20).parameters())
    assert num_parameters == 269_722  # "0.27M" in table 6


@pytest.mark.parametrize("depth", [2, 9, 18])
def test_another_depth_is_an_invalid_config(depth: int) -> None:
    with pytest.raises(InvalidConfig, match=f"6n \\+ 2 layers: 8, 14, 20, ...; got {depth}"):
        resnet.ResNet(1, 4, depth)


@pytest.mark.parametrize(("name", "augment"), [("sgd", True), ("adamw", False)])
def test_the_resnet_learns_digits(name: str, augment: bool) -> None:
    optimizer = RESNET["optimizer"] | {"name": name, "lr": 0.1 if name == "sgd" else 0.01}
    rows = list(islice(resnet.train(RESNET | {"augment": augment, "optimizer": optimizer}), 2))
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert list(rows[0]) == ["train_loss", "val_loss", "val_accuracy", "micro_batch"]


def test_the_mlp_learns_its_table() -> None:
    rows = list(islice(mlp.train(MLP), 5))
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert rows[-1]["val_accuracy"] > 0.9


def test_cifar_is_read_as_its_layout_says(tmp_path: Path) -> None:
    records = _write_cifar(tmp_path)
    images, labels, val_images, val_labels = resnet.load_images(str(tmp_path))
    assert images.shape == (80, 3, 32, 32)
    assert val_images.shape == (40, 3, 32, 32)
    assert labels[:12].tolist() == [*range(10), 0, 1]
    assert len(val_labels) == 40
    assert images[3, 2, 5, 7].item() == records[3, 1 + 2 * 1024 + 5 * 32 + 7]


def test_the_resnet_trains_on_cifar_where_data_root_names_it(tmp_path: Path) -> None:
    _write_cifar(tmp_path)
    with activate(TrialContext(device="cpu", data={"root": str(tmp_path)})):
        row = next(resnet.train(RESNET | {"augment": True}))
    assert row["train_loss"] > 0


def test_a_folder_without_cifar_and_a_cut_file_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected the files of CIFAR-10's binary version"):
        resnet.load_images(str(tmp_path))
    _write_cifar(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2\.bin: 122919 bytes are no multiple of 3073"):
        resnet.load_images(str(tmp_path))


def test_images_are_normalised_by_their_own_mean_and_deviation() -> None:
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    normalised = resnet.Normalise(images)(images)
    assert normalised.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert normalised.std(dim=(0, 2, 3), unbiased=False).tolist() == pytest.approx([1, 1, 1], rel=1e-5)


def test_shifted_images_keep_their_size_and_digits_are_never_mirrored() -> None:
    digit = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    digit[0, 0, 4, 1] = 9
    data = resnet.Augmented(digit, torch.zeros(1, dtype=torch.int64))
    places = {tuple(torch.nonzero(data[0][0]).squeeze(0).tolist()) for _ in range(200)}
    assert places == {(0, row, column) for row in (3, 4, 5) for column in (0, 1, 2)}
