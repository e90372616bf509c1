"""What a trial leaves in the process of the next one is restored or found; where nothing is left nothing is found."""

from __future__ import annotations

import atexit
import importlib
import io
import logging
import os
import resource
import signal
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy
import pytest
import torch

from hpsearch.slots.resident.state import user_files
from hpsearch.slots.resident.state.process_state import ProcessState
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.stepper import make_stepper


class Process:
    """This process as one that runs many trials."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules, self._states = set(sys.modules), list[ProcessState]()

    def write(self, **sources: str) -> None:
        """Files of the user's."""
        for name, source in sources.items():
            (self._folder / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()

    def load(self, source: str = "", **others: str) -> ModuleType:
        """Import `train.py`, which has this source, and take the state."""
        self.write(train=source, **others)
        module = importlib.import_module("train")
        self.take(vars(module).get("train"))
        return module

    def take(self, trainable: object = None) -> None:
        self.state = ProcessState(trainable)
        self._states.append(self.state)

    def left_after(self, trial: Callable[[], object]) -> tuple[str, ...]:
        """What is found after a trial."""
        trial()
        self.state.restore()
        return self.state.find_leftovers()

    def close(self) -> None:
        for state in self._states:
            state.stop()
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(self._folder)):
                del sys.modules[name]


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.syspath_prepend(str(tmp_path))
    users = (str(tmp_path), str(Path(__file__).parent), "<string>")  # else every module of every test counts
    monkeypatch.setattr(user_files, "is_user_code", lambda file: file.startswith(users))
    user_files._is_users_folder.cache_clear()
    started = Process(tmp_path)
    yield started
    started.close()
    user_files._is_users_folder.cache_clear()


LEAVES: dict[str, tuple[str, str]] = {
    "a list grows": ("SEEN = []\ndef train(): SEEN.append(1)", "train.SEEN was a list of 0 and is a list of 1"),
    "a cache is filled": (
        "CACHE = {}\ndef train(): CACHE.setdefault('a', 1)",
        "train.CACHE was a dict of 0 and is a dict of 1",
    ),
    "a member changes": ("CONFIG = {'lr': 1}\ndef train(): CONFIG['lr'] = 2", "train.CONFIG (a dict of 1) was changed"),
    "a global is set": ("BEST = 0\ndef train():\n global BEST\n BEST = 1", "train.BEST was 0 and is 1"),
    "a global is made": ("def train():\n global model\n model = [1]", "train.model is new (a list of 1)"),
    "a global is deleted": ("A = 1\ndef train():\n global A\n del A", "train.A is gone"),
    "an attribute of a class": ("class A:\n count = 0\ndef train(): A.count += 1", "train.A.count was 0 and is 1"),
    "a method is replaced": (
        "class A:\n def f(self): ...\ndef train(): A.f = len",
        "train.A.f was a function and is a builtin_function_or_method",
    ),
    "a default": ("def f(x=[]): x.append(1)\ndef train(): f()", "train.f (a function) was changed"),
    "an attribute of a function": ("def f(): ...\ndef train(): f.calls = 1", "train.f (a function) was changed"),
    "a model": (
        "import torch\nMODEL = torch.nn.Linear(1, 1)\ndef train(): MODEL.weight.data.add_(1)",
        "train.MODEL (a Linear) was changed",
    ),
    "a random state": (
        "import numpy\nRNG = numpy.random.default_rng(0)\ndef train(): RNG.random()",
        "train.RNG (a Generator) was changed",
    ),
    "a patched function of torch": (
        "import torch.nn.functional as F\ndef train(): F.relu = F.gelu",
        "torch.nn.functional.relu was replaced",
    ),
    "a patched seed": ("import random\ndef train(): random.seed = lambda *a: None", "random.seed was replaced"),
    "a patched builtin": (
        "import builtins\ndef train(): builtins.print = lambda *a: None",
        "builtins.print was replaced",
    ),
    "a patched method of torch": (
        "import torch\ndef train(): torch.nn.Linear.forward = lambda *a: 0",
        "torch.nn.modules.linear.Linear.forward was replaced",
    ),
    "a patched module of the user's choice": (
        "import colorsys\ndef train(): colorsys.rgb_to_yiq = max",
        "colorsys.rgb_to_yiq was replaced",
    ),
}


@pytest.fixture
def originals() -> Iterator[None]:
    """What the sources above replace."""
    import builtins
    import colorsys
    import random

    places = [
        (torch.nn.functional, "relu"), (random, "seed"), (builtins, "print"), (torch.nn.Linear, "forward"),
        (colorsys, "rgb_to_yiq"),
    ]  # fmt: skip
    before = [getattr(place, name) for place, name in places]
    yield
    for (place, name), value in zip(places, before, strict=True):
        setattr(place, name, value)


@pytest.mark.usefixtures("originals")
@pytest.mark.parametrize("name", LEAVES)
def test_what_a_trial_leaves_is_found(process: Process, name: str) -> None:
    source, sentence = LEAVES[name]
    module = process.load(source)
    assert process.left_after(lambda: None) == ()
    assert process.left_after(module.train) == (sentence,)


def test_what_a_trial_leaves_in_a_neighbour_is_found(process: Process) -> None:
    module = process.load("import data\ndef train(): data.SEEN.add(1)", data="SEEN = set()")
    assert process.left_after(module.train) == ("data.SEEN was a set of 0 and is a set of 1",)


def test_a_function_that_was_pickled_by_value_has_globals_too(process: Process) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "SEEN": []}
    exec("def train(): SEEN.append(1)", namespace)
    train = cloudpickle.loads(cloudpickle.dumps(namespace["train"]))
    process.take(train)
    assert process.left_after(train) == ("__main__.SEEN was a list of 0 and is a list of 1",)


def test_the_closure_of_a_function_that_was_pickled_by_value_is_compared(process: Process) -> None:
    def make() -> Callable[[], None]:
        seen: list[int] = []
        return lambda: seen.append(1)

    train = make()
    process.take(train)
    assert process.left_after(train) == ("trainable.<lambda> (a function) was changed",)


def test_many_findings_are_counted(process: Process) -> None:
    names = [f"A{number}" for number in range(9)]
    module = process.load(
        "\n".join([*(f"{name} = []" for name in names), "def train():", *(f" {n}.append(1)" for n in names)])
    )
    assert process.left_after(module.train)[-1] == "3 more of this kind"


CLEAN = {
    "a module": "def train():\n import data\n assert data.SEEN == []",
    "a name that is imported late": "def train():\n global data, load\n import data\n from data import load",
    "a table that models enter themselves into": "MODELS = {}\ndef train(): import models",
    "the first optimizer of its class": """
        import torch
        class Own(torch.optim.SGD):
            def step(self): return super().step()
        def train(): Own([torch.nn.Parameter(torch.ones(1))], lr=0.1).step()
    """,
    "what is put back to its value": "SEEN = []\ndef train():\n SEEN.append(1)\n SEEN.clear()",
    "a data set that a function keeps": """
        import functools, torch
        @functools.cache
        def load(): return {"train": torch.zeros(100, 100)}
        def train(): return load()
    """,
    "a setting that a function keeps is dropped": """
        import functools
        @functools.lru_cache(maxsize=8)
        def setting(): return []
        def train():
            setting().append(1)
            assert len(setting()) == 1
    """,
    "a compiled function": """
        import torch
        @torch.compile(backend="eager")
        def double(x): return 2 * x
        def train(): assert double(torch.ones(2)).sum() == 4
    """,
    "a thread that ends": "import threading\ndef train(): threading.Timer(0.01, print).start()",
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_a_trial_that_leaves_nothing_is_clean_again_and_again(process: Process, name: str) -> None:
    others = {
        "data": "SEEN = []\ndef load(): return 1",
        "models": "import train, plugins\ntrain.MODELS['a'] = 1",
        "plugins": "import train\ntrain.MODELS['b'] = 1",
    }
    module = process.load(CLEAN[name], **others)
    for _ in range(3):
        assert process.left_after(module.train) == ()


def test_a_module_that_is_imported_in_the_trial_that_changes_it_is_found(process: Process) -> None:
    module = process.load("def train():\n import data\n data.SEEN.append(1)", data="SEEN = []")
    assert process.left_after(module.train) == ("data.SEEN was a list of 0 and is a list of 1",)


def test_data_that_a_trial_changes_are_found(process: Process) -> None:
    source = """
        import functools, torch
        @functools.cache
        def load(): return torch.zeros(100, 100)
        def train(): return load()
        def scale(): load().add_(1)
    """
    module = process.load(source)
    assert process.left_after(module.train) == ()
    assert process.left_after(module.scale) == ("the cache of train.load was changed",)


def test_a_model_in_the_cache_of_a_function_is_dropped(process: Process) -> None:
    source = """
        import functools, torch
        @functools.cache
        def model(): return torch.nn.Linear(100, 100)
    """
    module = process.load(source)
    first = module.model()
    assert process.left_after(module.model) == ()
    assert module.model() is not first


def test_a_run_of_a_tracker_that_is_open_is_found(process: Process) -> None:
    module = process.load("import wandb\ndef train(): wandb.run = object()", wandb="run = None")
    found = process.left_after(module.train)
    assert "wandb.run is still open: call wandb.finish() at the end" in found


def test_a_thread_that_still_runs_is_found(process: Process) -> None:
    process.load()
    end = threading.Event()
    found = process.left_after(threading.Thread(target=end.wait, name="loader", daemon=True).start)
    end.set()
    assert found == ("the thread 'loader' still runs",)


def test_a_function_that_is_to_run_at_exit_is_found(process: Process) -> None:
    module = process.load("import atexit\ndef end(): ...\ndef train(): atexit.register(end)")
    found = process.left_after(module.train)
    atexit.unregister(module.end)
    assert found == ("train.end is registered with atexit",)


def test_an_output_stream_that_a_trial_has_closed_is_found(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    process.take()
    assert process.left_after(sys.stdout.close) == ("sys.stdout was changed and can't be restored",)


def test_a_limit_that_can_not_be_raised_again_is_found(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [(9, 9)]
    monkeypatch.setattr(resource, "getrlimit", lambda number: now[0])
    monkeypatch.setattr(resource, "setrlimit", lambda number, limit: None)
    process.load()
    found = process.left_after(lambda: now.__setitem__(0, (1, 1)))
    assert "a resource limit was changed and can't be restored" in found


class Settings:
    """Each method changes a setting, and returns how it is read."""

    def environment(self) -> Callable[[], Any]:
        os.environ["MARK"] = "1"
        return lambda: os.environ.get("MARK")

    def working_dir(self) -> Callable[[], Any]:
        os.chdir("/")
        return Path.cwd

    def path(self) -> Callable[[], Any]:
        sys.path.insert(0, "/nowhere")
        return lambda: list(sys.path)

    def stdout(self) -> Callable[[], Any]:
        sys.stdout = sys.__stderr__
        return lambda: sys.stdout

    def excepthook(self) -> Callable[[], Any]:
        sys.excepthook = lambda *args: None
        return lambda: sys.excepthook

    def signal(self) -> Callable[[], Any]:
        signal.signal(signal.SIGUSR1, lambda *args: None)
        signal.setitimer(signal.ITIMER_REAL, 60)
        return lambda: (signal.getsignal(signal.SIGUSR1), signal.getitimer(signal.ITIMER_REAL))

    def mask(self) -> Callable[[], Any]:
        os.umask(0o007)
        return lambda: os.umask(0o022)  # which is what it was before

    def limit(self) -> Callable[[], Any]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        return lambda: resource.getrlimit(resource.RLIMIT_NOFILE)

    def recursion(self) -> Callable[[], Any]:
        sys.setrecursionlimit(12345)
        return sys.getrecursionlimit

    def warnings(self) -> Callable[[], Any]:
        warnings.simplefilter("ignore")
        return lambda: list(warnings.filters)

    def handlers(self) -> Callable[[], Any]:
        for logger in (logging.getLogger(), logging.getLogger("mine")):
            logger.addHandler(logging.StreamHandler())
            logger.setLevel(logging.CRITICAL)
        return lambda: [(len(logger.handlers), logger.level) for logger in (logging.root, logging.getLogger("mine"))]

    def time_zone(self) -> Callable[[], Any]:
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        return lambda: time.strftime("%Z", time.localtime(0))

    def numpy(self) -> Callable[[], Any]:
        numpy.seterr(all="raise")
        return numpy.geterr

    def dtype(self) -> Callable[[], Any]:
        torch.set_default_dtype(torch.float64)
        return torch.get_default_dtype

    def device(self) -> Callable[[], Any]:
        torch.set_default_device("meta")
        return torch.get_default_device

    def gradients(self) -> Callable[[], Any]:
        torch.set_grad_enabled(False)
        return torch.is_grad_enabled

    def hooks(self) -> Callable[[], Any]:
        torch.nn.modules.module.register_module_forward_hook(lambda *args: None)
        return lambda: len(torch.nn.modules.module._global_forward_hooks)

    def autocast(self) -> Callable[[], Any]:
        torch.set_autocast_enabled("cpu", True)
        return lambda: torch.is_autocast_enabled("cpu")


SETTINGS = [name for name in vars(Settings) if not name.startswith("_")]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_restored(process: Process, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = os.umask(0o022)
    folder = Path.cwd()
    process.load()
    try:
        change: Callable[[], Callable[[], Any]] = getattr(Settings(), name)
        reads: list[Callable[[], Any]] = []
        changed: list[Any] = []

        def change_twice() -> None:
            reads.append(change())
            changed.append(reads[0]())
            change()

        assert process.left_after(change_twice) == ()
        assert reads[0]() != changed[0]
        assert Path.cwd() == folder
    finally:
        os.umask(mask)


def test_a_handler_that_is_dropped_is_closed(process: Process, tmp_path: Path) -> None:
    process.load()
    handler = logging.FileHandler(tmp_path / "log.txt")
    assert process.left_after(lambda: logging.getLogger("mine").addHandler(handler)) == ()
    assert handler.stream is None


MLP = {"hidden": 8, "layers": 1, "dropout": 0.1, "batch_size": 64, "lr": 0.01, "weight_decay": 0.0}
RESNET = {
    "model": {"width": 2, "depth": 8}, "batch_size": 256, "augment": True,
    "optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "momentum": 0.9},
}  # fmt: skip


@pytest.mark.parametrize(("name", "config"), [("mlp", MLP), ("resnet", RESNET)])
def test_the_examples_leave_nothing(process: Process, name: str, config: dict[str, Any]) -> None:
    train = importlib.import_module(f"experiments.{name}").train
    process.take(train)

    def trial() -> None:
        context = TrialContext(number=1, loader_workers=0)
        stepper = make_stepper(train, config, context)
        with activate(context):
            assert stepper.advance()
            stepper.close()

    assert [process.left_after(trial) for _ in range(3)] == [()] * 3
