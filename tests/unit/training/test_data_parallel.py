"""`parallel: dp`. On a CPU DataParallel calls the model and does nothing else, so this is all that is true here."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from hpsearch.errors import InvalidConfig, SpecError
from hpsearch.spec.sweep import Sweep
from hpsearch.training.checkpoint import load_checkpoint
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.fit import fit
from hpsearch.training.parallel import gpu_peak_memory, wrap


def rows_of(context: TrialContext, epochs: int) -> list[dict[str, float]]:
    generator = torch.Generator().manual_seed(0)
    table = TensorDataset(torch.randn(40, 4, generator=generator), torch.randn(40, 1, generator=generator))
    torch.manual_seed(1)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with activate(context):
        rows = fit(model, table, table, loss=mse_loss, optimizer=optimizer, batch_size=8)
        taken = []
        for row in islice(rows, epochs):
            context.epochs_done += 1
            taken.append(row)
        context.save()
        rows.close()  # type: ignore[attr-defined]
    return taken


def test_it_trains_to_the_numbers_of_one_process_and_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    whole = rows_of(TrialContext(device="cpu", checkpoint_dir=tmp_path / "a"), 3)
    first = rows_of(TrialContext(device="cpu", parallel="dp", checkpoint_dir=tmp_path / "b"), 1)
    rest = rows_of(TrialContext(device="cpu", parallel="dp", checkpoint_dir=tmp_path / "b"), 2)
    assert first + rest == whole
    found, _ = load_checkpoint(tmp_path / "b", rank=0)
    assert found is not None
    assert set(found.states["model"]) == {"weight", "bias"}, "no 'module.' of a wrapper"


def test_the_model_is_wrapped_by_data_parallel() -> None:
    cpu = torch.device("cpu")
    assert isinstance(wrap(nn.Linear(1, 1), world_size=1, device=cpu, parallel="dp"), nn.DataParallel)
    assert gpu_peak_memory(device=cpu, parallel="dp") == {}


def test_several_processes_are_refused_in_the_spec_and_by_hand() -> None:
    tree = {"metric": {"name": "m", "goal": "minimize"}, "parameters": {"x": {"values": [1]}}, "parallel": "dp"}
    with pytest.raises(SpecError, match=r"parallel: dp is one process with all GPUs, got workers: 2. Write workers: 1"):
        Sweep.from_dict({**tree, "resources": {"workers": 2}})
    with pytest.raises(SpecError, match=r"expected whole GPUs, over which dp splits a batch, got 0.5"):
        Sweep.from_dict({**tree, "resources": {"gpu": 0.5}})
    with pytest.raises(InvalidConfig, match="this trial has 2 workers"):
        wrap(nn.Linear(1, 1), world_size=2, device=torch.device("cpu"), parallel="dp")
