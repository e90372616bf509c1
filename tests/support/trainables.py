"""Training functions for the tests: small, and each with one property."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import hpsearch

KEPT: list[object] = []


def steady(config):
    """Three epochs, nothing special; reports the process id."""
    for epoch in range(3):
        print(f"epoch {epoch} of x={config['x']:.3f}")
        os.write(2, b"straight to the descriptor\n")
        yield {"loss": config["x"] + 1 / (epoch + 1), "pid": os.getpid(), "epoch": epoch}


def reporter(config):
    """A plain function."""
    for epoch in range(3):
        hpsearch.report(loss=config["x"] + 1 / (epoch + 1))


def ray_function(config):
    """A function as Ray Tune's documentation writes it, with a checkpoint that it reads after it died once."""
    import json
    import tempfile

    from ray import tune

    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start = json.loads((Path(folder) / "state.json").read_text())["epoch"]
    for epoch in range(start, 4):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch + 1}))
            tune.report(
                {"loss": config["x"] + 1 / (epoch + 1), "started_at": start},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )
        if epoch == 1 and start == 0:
            os._exit(1)


def raises_in_half(config):
    for epoch in range(2):
        if config["x"] > 0.5 and epoch == 1:
            raise KeyError("no such layer")
        yield {"loss": config["x"]}


def always_raises(config):
    raise ValueError(f"the data are missing, x={config['x']}")
    yield {}


def diverges(config):
    yield {"loss": config["x"]}
    yield {"loss": float("nan") if config["kind"] == "nan" else float("inf")}
    yield {"loss": 0.0}


def misreports(config):
    rows = {
        "missing": {"acc": 1.0, "f1": 2.0},
        "none": {"loss": None},
        "text": {"loss": "low"},
        "nothing": None,
        "good": {"loss": 1.0},
    }
    if config["kind"] != "nothing":
        yield rows[config["kind"]]


def misspells(config):
    for _ in range(100):
        yield {"Loss": config["x"], "acc": 0.5}


def is_killed_at_once(config):
    os.kill(os.getpid(), signal.SIGKILL)
    yield {"loss": config["x"]}


def exits_at_once(config):
    os._exit(3)
    yield {"loss": config["x"]}


def odd_numbers(config):
    import numpy as np
    import torch

    kinds = {"tensor": torch.tensor(0.5), "numpy": np.float32(0.5), "bool": True, "int": 1, "nested": 0.5}
    yield {"loss": kinds[config["kind"]], "more": {"acc": np.int64(3), "name": "text", "huge": 10**400}}


def dies_once(config):
    """Killed after its second epoch in its first attempt; goes on from its checkpoint."""
    import torch

    weight = torch.nn.Linear(1, 1)
    start = hpsearch.current_trial().keep(weight=weight)
    for epoch in range(start, 5):
        if epoch == 2 and start == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        with torch.no_grad():
            weight.weight += 1
        yield {"loss": config["x"] + 1 / (epoch + 1), "weight": float(weight.weight), "start": start}


def segfaults(config):
    yield {"loss": config["x"]}
    ctypes.string_at(0)


def is_terminated(config):
    yield {"loss": config["x"]}
    os.kill(os.getpid(), signal.SIGTERM)
    yield {"loss": 0.0}


def hangs(config):
    yield {"loss": config["x"]}
    time.sleep(600)


def invalid(config):
    if config["x"] > 0.3:
        raise hpsearch.InvalidConfig("x above 0.3 can't be built")
    yield {"loss": config["x"]}


def out_of_memory(config):
    import torch

    yield {"loss": config["x"]}
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def leaks(config):
    import torch

    KEPT.append(torch.zeros(20 * 2**20))
    yield {"loss": config["x"], "pid": os.getpid()}


def seeded(config):
    import random

    import numpy as np
    import torch

    yield {
        "loss": config["x"],
        "torch": float(torch.rand(1)),
        "numpy": float(np.random.rand()),
        "python": random.random(),
    }


def sees(config):
    """Which GPUs this process sees, and its place among the ranks, when as many trials as `at_once` says are there."""
    trial = hpsearch.current_trial()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    notes = Path(os.environ["HPSEARCH_TEST_NOTES"])
    (notes / str(trial.number)).touch()
    while len(list(notes.iterdir())) < config["at_once"]:  # else a slot that is up early trains them all
        time.sleep(0.02)
    yield {"loss": config["x"], "gpu": float(visible) if visible else -1.0, "world": trial.world_size}


def together(config):
    """Ranks that add up their numbers."""
    import torch

    trial = hpsearch.current_trial()
    for epoch in range(3):
        total = torch.tensor([float(trial.rank + 1)])
        if config.get("trouble") in ("stop", "sleep") and epoch == 1:
            torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=3))
            if trial.rank == 1:
                os.kill(os.getpid(), signal.SIGSTOP) if config["trouble"] == "stop" else time.sleep(600)
        if trial.world_size > 1:
            torch.distributed.all_reduce(total)
        if config.get("trouble") == "raise" and trial.rank == 1 and epoch == 1:
            raise RuntimeError("rank 1 has had enough")
        if config.get("trouble") == "kill" and trial.rank == 1 and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("trouble") == "short" and trial.rank == 1 and epoch == 1:
            return
        yield {"loss": config["x"] + 1 / (epoch + 1), "total": float(total), "pid": os.getpid()}


def context(config):
    """What the driver's process gave on."""
    trial = hpsearch.current_trial()
    print(sys.path[0], Path.cwd(), os.environ.get("HPSEARCH_TEST_VARIABLE"))
    assert trial.data["root"] == "somewhere"
    yield {"loss": config["model"]["depth"] + config["x"], "seed": trial.seed, "number": trial.number}


def meddles(config):
    """Changes settings of the process in its first trial, and tells what it found."""
    import torch

    found = {
        "dtype": float(torch.get_default_dtype() is torch.float32),
        "grad": float(torch.is_grad_enabled()),
        "threads": torch.get_num_threads(),
        "variable": float("MEDDLED" in os.environ),
        "folder": float(Path.cwd() == Path(tempfile.gettempdir())),
    }
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(7)
    os.environ["MEDDLED"] = "1"
    os.chdir(tempfile.gettempdir())
    yield {"loss": config["x"], **found}


def logs(config):
    """Sets logging up as most programs do, once for the process."""
    logging.basicConfig()
    logging.getLogger("mine").warning("hello from x=%s", config["x"])
    print("printed", file=sys.stdout)
    yield {"loss": config["x"]}


class SlowState:
    """State that takes longer to write than peers of a failed rank are given."""

    def state_dict(self):
        time.sleep(4 if hpsearch.current_trial().rank == 0 else 0)
        return {"value": 1}

    def load_state_dict(self, state_dict):
        pass


def saves_slowly(config):
    hpsearch.current_trial().keep(state=SlowState())
    yield {"loss": config["x"]}


def load_ones():
    """Leaves a note of each time that it runs."""
    import torch

    Path(os.environ["HPSEARCH_TEST_NOTES"], f"loaded-{os.getpid()}-{time.monotonic_ns()}").touch()
    return torch.ones(1000)


def on_shared_data(config):
    """The second trial's rank dies after it wrote into the data; everybody must find them loaded, and whole."""
    trial, died = hpsearch.current_trial(), Path(os.environ["HPSEARCH_TEST_NOTES"] + ".died")
    ones = hpsearch.shared_data(load_ones)
    yield {"loss": float(ones.sum()), "pid": os.getpid()}
    ones.zero_()
    if trial.number == 2 and not died.exists():
        died.touch()
        os._exit(1)
    yield {"loss": config["x"], "pid": os.getpid()}


def fits_in_pieces(config):
    """A GPU of 24 units, of which a forward pass takes `width` for each sample and a model of that width 4.

    With several workers only rank `small` has such a GPU.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import TensorDataset

    from hpsearch.training.metrics import accuracy
    from tests.support.hungry import Hungry

    width, generator = config["width"], torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 4, generator=generator)
    table = TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())
    has_room = hpsearch.current_trial().rank != config.get("small", 0)
    model = Hungry(lambda call, samples: has_room or 4 + width * samples <= 24, "forward")
    steps = []
    rows = hpsearch.fit(
        model,
        table,
        table,
        loss=cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        batch_size=config["batch_size"],
        metrics={"accuracy": accuracy},
        on_step=lambda step, loss: steps.append(step),
        epochs=2,
    )
    for row in rows:
        yield {"loss": row["val_loss"], "micro_batch": row["micro_batch"], "steps": steps[-1]}


def sums_losses(config):
    """The graph of every step hangs on one sum."""
    import torch

    weight = torch.ones(1, requires_grad=True)
    total = torch.zeros(())
    for _ in range(20):
        total = total + (weight * config["x"]).sum()
    yield {"loss": total.item()}


class Counted:
    """A state of one number."""

    def __init__(self):
        self.epochs = 0

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


def keeps(config):
    """As many epochs as it is let; says where it began."""
    counted = Counted()
    start = hpsearch.current_trial().keep(counted=counted)
    for epoch in range(start, 1000):
        counted.epochs += 1
        assert counted.epochs == epoch + 1
        yield {"loss": config["x"] + 1 / (epoch + 1), "began_at": start}


def hangs_with_child(config):
    """Hangs in its first epoch, beside a child that outlives it unless somebody ends it; tells the child's pid."""
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    beside = Path(f"{config['x']}.new")
    beside.write_text(str(child.pid))
    beside.replace(config["x"])
    time.sleep(1000)
    yield {"loss": 0.0}
