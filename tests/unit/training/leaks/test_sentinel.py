"""The mistakes of a diary, made in trainables of a file of the user's; and training that is in order."""

from __future__ import annotations

import gc
import importlib
import io
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset

from hpsearch.training.context import TrialContext, activate
from hpsearch.training.fit import fit
from hpsearch.training.leaks import sentinel as module
from hpsearch.training.leaks.live_tensors import find_holder, live_tensors, size_of
from hpsearch.training.leaks.sentinel import Sentinel
from hpsearch.training.stepper import make_stepper

TRAINING = """
import torch
from torch import nn
from torch.nn.functional import mse_loss

def parts():
    model = nn.Linear(4, 4)
    return model, torch.optim.SGD(model.parameters(), lr=0.01), torch.ones(8, 4)
"""

MISTAKES = {
    "losses that are summed": (
        """
        def train(config):
            model, optimizer, x = parts()
            while True:
                total = 0.0
                for _ in range(40):
                    loss = mse_loss(model(x), x)
                    optimizer.zero_grad(); loss.backward(retain_graph=True); optimizer.step()
                    total += loss  # here
                yield {"loss": total.item()}
        """,
        "a float32 scalar tensor with its graph (AddBackward0) is kept in variable `total` of {here}: losses are summed"
        " together with their graphs; sum `loss.item()` instead",
    ),
    "losses in a list": (
        """
        def train(config):
            model, optimizer, x = parts()
            losses = []
            while True:
                loss = mse_loss(model(x), x)
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                losses.append(loss)  # here
                yield {"loss": loss.item()}
        """,
        "a float32 scalar tensor with its graph (MseLossBackward0) is kept in list `losses` of {here}, and 5 such"
        " tensors are alive: use `.item()`",
    ),
    "an evaluation with gradients": (
        """
        def evaluate(model, x):
            outputs = {"all": []}
            for _ in range(40):
                outputs["all"].append(model(x))  # here
            return outputs

        def train(config):
            model, optimizer, x = parts()
            while True:
                outputs = evaluate(model, x)
                yield {"loss": 1.0}
        """,
        "a float32 tensor (8, 4) with its graph (AddmmBackward0) is kept in dict `outputs` of",
    ),
    "a tensor that survives the loop, in a global": (
        """
        KEPT = []

        def train(config):
            while True:
                batch = torch.zeros(2**18)
                KEPT.append(batch)  # here
                yield {"loss": 1.0}
        """,
        "tensors grow by 1.0 MiB an epoch: a float32 tensor (262144,) is kept in list `KEPT` of {here}; free it",
    ),
    "a tensor that survives the loop, in an attribute": (
        """
        class Trainer:
            def __init__(self):
                self.history = {}

            def epoch(self, number):
                self.history[number] = torch.zeros(2**18)  # here

        def train(config):
            trainer = Trainer()
            for number in range(100):
                trainer.epoch(number)
                yield {"loss": 1.0}
        """,
        "a float32 tensor (262144,) is kept in dict `self.history` of {here}; free it after its epoch",
    ),
    "a tensor that survives the loop, in a closure": (
        """
        def make():
            seen = []
            def remember(x):
                seen.append(x)  # here
            return remember

        def train(config):
            remember = make()
            while True:
                remember(torch.zeros(2**18))
                yield {"loss": 1.0}
        """,
        "a float32 tensor (262144,) is kept in list `seen` of {here}; free it after its epoch",
    ),
    "the same in a function that reports": (
        """
        import hpsearch

        def train(config):
            kept = []
            while True:
                kept.append(torch.zeros(2**18))  # here
                hpsearch.report(loss=1.0)
        """,
        "a float32 tensor (262144,) is kept in list `kept` of {here}; free it after its epoch",
    ),
}


@pytest.fixture(autouse=True)
def every_epoch_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "COST_SHARE", 0)
    gc.freeze()  # as a rank does before its first trial
    yield
    gc.unfreeze()


def said(function: Any, capsys: pytest.CaptureFixture[str], *, epochs: int = 6, **settings: Any) -> str:
    context = TrialContext(device="cpu", **settings)
    with activate(context):
        stepper = make_stepper(function, {}, context)
        for _ in range(epochs):
            stepper.advance()
        stepper.close()
    return capsys.readouterr().err


@pytest.mark.parametrize(("body", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_once_with_its_variable_and_line(
    body: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(TRAINING + textwrap.dedent(body))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "# here" in text)
    loader = SourceFileLoader("bad_of_the_user", str(file))
    bad = module_from_spec(spec_from_loader("bad_of_the_user", loader))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "bad_of_the_user", bad)
    loader.exec_module(bad)
    lines = said(bad.train, capsys).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("hpsearch: memory leak: ")
    assert expected.format(here=f"bad.py:{line}") in lines[0]
    assert said(bad.train, capsys, leak_warnings=False) == ""


def test_a_global_that_was_there_before_the_first_trial_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "frozen_of_the_user.py").write_text("import torch\nKEPT = {'all': []}\n\nKEPT['all'].append(1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    imported = importlib.import_module("frozen_of_the_user")
    gc.freeze()  # a rank does so when all is imported; `gc` then finds neither the list nor the dict
    imported.KEPT["all"].append(torch.zeros(3))
    found = str(find_holder(imported.KEPT["all"][1]))
    assert found == "dict `KEPT` of frozen_of_the_user.py:4"


def in_order(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """What must not be taken for a leak: results on record, a loss of several terms, a cache that is full soon."""
    model, history, cache = nn.Linear(4, 4), [], dict[int, torch.Tensor]()
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(100):
        output = model(torch.ones(8, 4))
        loss = sum((mse_loss(output, torch.full((8, 4), float(target))) for target in range(5)), torch.zeros(()))
        loss.backward()
        optimizer.step()
        history.append(loss.detach())
        cache[epoch % 3] = torch.zeros(2**18)
        yield {"loss": loss.item()}


def with_fit(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    table = TensorDataset(torch.ones(64, 4), torch.ones(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    yield from fit(model, table, table, loss=mse_loss, optimizer=optimizer, batch_size=8, ema_decay=0.9)


@pytest.mark.parametrize("function", [in_order, with_fit])
def test_training_in_order_is_left_in_peace(function: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(function, capsys, epochs=12) == ""


def test_host_memory_that_grows_without_tensors_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(range(0, 1000, 20))
    monkeypatch.setattr(module, "_host_mib", lambda: float(next(sizes)))
    stream = io.StringIO()
    sentinel = Sentinel(stream)
    for _ in range(10):
        sentinel.after_epoch()
    assert stream.getvalue() == (
        "hpsearch: memory leak: host memory grows by 20 MiB an epoch, but no tensors do; check lists, caches and"
        " loaders\n"
    )


def test_samples_take_at_most_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, samples = [0.0], list[float]()

    def sample(tensors: list[torch.Tensor]) -> Any:
        now[0] += 0.010
        samples.append(now[0])
        return module.MemorySample(ids=frozenset(), num_bytes=0, num_graphs=0, groups=Counter(), host_mib=0.0)

    monkeypatch.setattr(module, "COST_SHARE", 100)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "_sample", sample)
    interval = module.SampleInterval()
    for _ in range(100):
        sentinel = Sentinel(interval=interval)  # a trial of ten epochs
        for _ in range(10):
            now[0] += 0.1
            sentinel.after_epoch()
    assert len(samples) * 0.010 <= 0.0101 * now[0]


def transformed() -> torch.Tensor:
    kept: list[torch.Tensor] = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    torch.func.vmap(keep)(torch.ones(3, 2))
    return kept[0]


@pytest.mark.parametrize(
    "make",
    [
        transformed,
        nn.UninitializedParameter,
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    ],
    ids=["of torch.func", "lazy", "sparse", "nested", "jagged"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_without_a_size_harm_no_trial(make):
    kept, plain = make(), torch.ones(2)
    Sentinel(interval=module.SampleInterval()).after_epoch()
    found = live_tensors()
    assert size_of(found) >= 0 and max(tensor.nbytes for tensor in found) >= 0
    assert any(tensor is plain for tensor in found) and not any(tensor is kept for tensor in found)
