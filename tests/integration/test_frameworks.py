"""Code written for torchrun, accelerate, Lightning and Transformers, as a trial of two ranks. Real processes, no Ray.

The ranks are forked from a preload server, as in a sweep, and meet over gloo.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from hpsearch.devices.requests import WorkerRequest
from hpsearch.slots.forked.forked_trials import ForkedTrials
from hpsearch.slots.forked.preload_server import ServerOptions, server_name
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import Rendezvous, rank_positions
from hpsearch.slots.replies import Reply
from hpsearch.trainable.locate import locate
from hpsearch.training.parallel import host_store
from tests.support import framework_trainables
from tests.support.slot_settings import settings_of
from tests.support.waiting import until

pytestmark = pytest.mark.ddp

RUN = uuid.uuid4().hex
"""One server for the tests of this module: starting one takes seconds."""
MEETING_PATIENCE_S = 90.0
"""A trial that trains for longer hangs, and is killed: ranks wait for each other."""
FRAMEWORKS = {
    "plain_ddp": "torch",
    "fitted": "torch",
    "accelerated": "accelerate",
    "transformers_trainer": "transformers",
    "lightning_trainer": "pytorch_lightning",
    "lightning_fabric": "pytorch_lightning",
}
"""A function of `framework_trainables`, and the package that it needs."""
ALL = 2**framework_trainables.SAMPLES - 1


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server, held by a rank of its own."""
    (keeper,) = _ranks(tmp_path_factory.mktemp("keeper"), b"", workers=1)
    keeper.load()
    yield
    keeper.close()


def _ranks(folder: Path, trainable: bytes, *, workers: int, gpus: tuple[str, ...] = (), **settings: Any) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    made = settings_of(
        **{
            "run": RUN,
            "trainable": trainable,
            "sweep_dir": str(folder),
            "working_dir": str(folder),
            "environment": {**environment, "HF_HUB_OFFLINE": "1"},
            "request": WorkerRequest(cpu=1, gpu=1 if gpus else 0, workers=workers),
            "grace_s": 20.0,
            **settings,
        }
    )
    positions = rank_positions(["here"] * workers, gpus or [""] * workers, ["127.0.0.1"] * workers)
    path = tuple(sys.path)
    return [
        ForkedTrials(made, working_dir=str(folder), sys_path=path, position=position, ranks_here=workers)
        for position in positions
    ]


@pytest.fixture
def train(tmp_path: Path) -> Any:
    """Runs one attempt of a trainable to its end; the replies to its first row, by rank."""

    def begin(
        name: str, config: dict[str, Any] | None = None, *, file: Path | None = None, **settings: Any
    ) -> list[Reply]:
        found = locate(f"{file or framework_trainables.__file__}{f':{name}' if name else ''}", spec_dir=None)
        settings = {"workers": 2, **settings}
        ranks = _ranks(tmp_path, cloudpickle.dumps(found), **settings)
        store = host_store("127.0.0.1")
        rendezvous = Rendezvous(address="127.0.0.1", port=store.port, run=uuid.uuid4().hex) if len(ranks) > 1 else None
        assignment = Assignment(number=1, attempt=1, config=config or {}, seed=0, max_epochs=None)
        late = threading.Timer(MEETING_PATIENCE_S, lambda: [rank.end() for rank in ranks])
        with ThreadPoolExecutor(len(ranks)) as threads:
            for rank in ranks:
                rank.begin(assignment, rendezvous)
            late.start()
            replies = list(threads.map(lambda rank: rank.step(save=False), ranks))
            cleaned = list(threads.map(lambda rank: rank.finish(save=False, run_to_end=True), ranks))
            late.cancel()
        for rank in ranks:
            rank.close()
        assert all(each.notes == () for each in cleaned), (cleaned, replies)
        return replies

    return begin


def _rows(replies: list[Reply]) -> list[dict[str, float]]:
    for reply in replies:
        assert reply.metrics is not None, reply
    return [dict(reply.metrics) for reply in replies if reply.metrics is not None]


def _needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_two_ranks_share_the_samples_and_train_what_one_process_trains(train: Any, name: str) -> None:
    _needs(FRAMEWORKS[name])
    (alone,) = _rows(train(name, workers=1))
    first, second = _rows(train(name))
    seen = int(first.pop("seen")), int(second.pop("seen"))
    assert seen[0] & seen[1] == 0 and seen[0] | seen[1] == ALL == int(alone.pop("seen"))
    assert seen[0].bit_count() == seen[1].bit_count() == framework_trainables.SAMPLES // 2
    assert first == second, "loss and weights, to the last bit"
    assert first.pop("processes", 2) == 2 and alone.pop("processes", 1) == 1
    assert first == pytest.approx(alone, rel=1e-9)


def test_a_process_group_that_the_script_has_made_is_used(train: Any) -> None:
    assert _rows(train("group_of_its_own")) == [{"loss": 1.0, "processes": 2.0}] * 2


def test_current_trial_makes_a_process_group_where_the_script_has_none(train: Any) -> None:
    assert _rows(train("no_group")) == [{"loss": 3.0, "before": 0.0, "processes": 2.0}] * 2


@pytest.mark.parametrize(
    ("name", "workers", "is_noted"),
    [("nothing_in_common", 2, True), ("nothing_in_common", 1, False), ("no_group", 2, False)],
)
def test_the_log_says_so_where_each_rank_trains_alone(
    train: Any, tmp_path: Path, name: str, workers: int, is_noted: bool
) -> None:
    _rows(train(name, workers=workers))
    log = (tmp_path / "trials" / "0001" / "log.txt").read_text()
    assert log.count("its 2 ranks are in no process group, so each of them trains alone") == is_noted


@pytest.mark.parametrize(
    ("workers", "tries"),
    [
        (
            1,
            [
                ("trainer", {"devices": 2}, "Set resources.workers: 2 and leave devices alone"),
                ("trainer", {"devices": 2, "strategy": "ddp_spawn"}, "Set resources.workers: 2"),
                ("fabric", {"devices": 2}, "Set resources.workers: 2 and leave devices alone"),
            ],
        ),
        (
            2,
            [
                ("trainer", {"devices": 1}, "each of the trial's 2 ranks would train alone"),
                ("fabric", {"devices": 1}, "each of the trial's 2 ranks would train alone"),
                ("trainer", {"strategy": "ddp_spawn"}, "which are its processes already"),
            ],
        ),
    ],
)
def test_lightning_neither_starts_processes_nor_trains_on_each_rank_alone(
    train: Any, workers: int, tries: list[Any]
) -> None:
    _needs("pytorch_lightning")
    rows = _rows(train("lightning_refused", {"tries": tries}, workers=workers))
    assert rows == [{"loss": 0.0, "refused": 3.0}] * workers


def test_what_lightning_is_refused_for_is_an_invalid_configuration(train: Any) -> None:
    _needs("pytorch_lightning")
    (reply,) = train("lightning_trainer", {"devices": 2}, workers=1)
    assert reply.failure is not None and reply.failure.cause == "invalid_config"
    assert "Set resources.workers: 2 and leave devices alone" in reply.failure.evidence


def test_lightning_counts_a_gpu_for_each_rank(train: Any) -> None:
    _needs("pytorch_lightning")
    assert _rows(train("lightning_gpus")) == [{"loss": 0.0, "trainer": 2.0, "fabric": 2.0}] * 2


TWO_GPUS = """
import os
import torch
import torch.distributed as dist
import hpsearch

used = []
make_group = dist.init_process_group


def init_process_group(backend=None, *, device_id=None, **more):
    used.append(device_id)
    make_group("gloo", **more)


torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 2
torch.cuda.set_device = lambda device: used.append(torch.device(device))
dist.init_process_group = init_process_group


def train(config):
    trial = hpsearch.current_trial()
    mine = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    yield {
        "loss": 0.0,
        "device": trial.device.index,
        "used": len(used),
        "others": sum(device != mine for device in used),
        "gpus": float(os.environ["CUDA_VISIBLE_DEVICES"].replace(",", ".")),
        "accelerate": of_accelerate(),
    }


def of_accelerate():
    try:
        from accelerate import PartialState
    except ImportError:
        return hpsearch.current_trial().device.index
    return PartialState().device.index
"""


def test_each_rank_sees_all_gpus_of_its_trial_and_uses_the_one_of_its_local_rank(train: Any, tmp_path: Path) -> None:
    """PyTorch is made to see two GPUs; no GPU is there."""
    (tmp_path / "two_gpus.py").write_text(TWO_GPUS)
    first, second = _rows(train("train", file=tmp_path / "two_gpus.py", gpus=("5", "3")))
    assert (first["device"], second["device"]) == (first["accelerate"], second["accelerate"]) == (0, 1)
    assert first["used"] == second["used"] >= 2, "by set_device, and by the process group"
    assert first["others"] == second["others"] == 0
    assert first["gpus"] == second["gpus"] == 5.3, "CUDA_VISIBLE_DEVICES=5,3"


FORBIDDEN = """
import os, sys
import torch, torch.cuda

def forbid(name):
    def forbidden(*args, **more):
        os.write(2, f"torch.cuda.{name} was called\\n".encode())
        os._exit(66)
    return forbidden

names = ("is_available", "device_count", "current_device", "set_device", "init", "_lazy_init")
plain = {name: getattr(torch.cuda, name) for name in names}
for name in names:
    setattr(torch.cuda, name, forbid(name))
counting = torch._C._cuda_getDeviceCount if hasattr(torch._C, "_cuda_getDeviceCount") else None
if counting is not None:
    torch._C._cuda_getDeviceCount = forbid("_C")

def put_back():  # a trial may ask
    for name in names:
        setattr(torch.cuda, name, plain[name])
    if counting is not None:
        torch._C._cuda_getDeviceCount = counting

os.register_at_fork(after_in_child=put_back)
"""


def test_the_preload_server_never_calls_torch_cuda(tmp_path: Path) -> None:
    """A process that has asked for GPUs, even in vain, can't be forked from; here asking ends it."""
    run = uuid.uuid4().hex
    ranks = _ranks(tmp_path, cloudpickle.dumps(lambda config: {"loss": os.getppid()}), workers=1, run=run)
    installed = tuple(name for name in ("transformers",) if importlib.util.find_spec(name))
    options = ServerOptions(
        name=server_name(run), sweep="test", modules=installed, differing=frozenset(), snapshot=None
    )
    file = os.memfd_create("options", 0)
    os.write(file, cloudpickle.dumps(options))
    code = f"{FORBIDDEN}\nfrom hpsearch.slots.forked.preload_server import main\nmain({file})"
    server = subprocess.Popen([sys.executable, "-c", code], pass_fds=(file,), stdin=subprocess.DEVNULL)
    os.close(file)
    first = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    until(lambda: first.connect_ex(server_name(run)) == 0, process=server)
    ranks[0].load()
    ranks[0].begin(Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None), None)
    reply = ranks[0].step(save=False)
    assert reply.metrics == {"loss": float(server.pid)}
    ranks[0].finish(save=False, run_to_end=True)
    ranks[0].close()
    first.close()
    assert server.wait(60) == 0


def test_a_rank_and_the_store_that_it_hosts_never_call_torch_cuda(tmp_path: Path) -> None:
    """Nor does it compute anything: its threads would be missing in what is forked from it."""
    (tmp_path / "rank.py").write_text(
        FORBIDDEN
        + textwrap.dedent("""
        from pathlib import Path
        from tests.integration.test_frameworks import _ranks
        import cloudpickle
        from hpsearch.slots.protocol import Assignment
        from hpsearch.slots.rank_environment import Rendezvous
        from hpsearch.training.parallel import host_store

        store = host_store("127.0.0.1")
        rendezvous = Rendezvous(address="127.0.0.1", port=store.port, run="run")
        (rank,) = _ranks(Path(sys.argv[1]), cloudpickle.dumps(lambda config: {"loss": 0}), workers=1, run=sys.argv[2])
        rank.load()
        rank.begin(Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None), rendezvous)
        assert rank.step(save=False).metrics == {"loss": 0.0}
        rank.finish(save=False, run_to_end=True)
        rank.close()
    """)
    )
    command = [sys.executable, str(tmp_path / "rank.py"), str(tmp_path), uuid.uuid4().hex]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, check=True, env=environment, timeout=120)


WANDB = """
# what wandb does: a run that was not finished is the run of the next init too
import types
run = None
config = None
def init(project=None, config=None):
    global run
    if run is None:
        run = types.SimpleNamespace(**vars(config))
    globals()["config"] = run
    return run
"""
WANDB_SCRIPT = """
import argparse
import hpsearch
import wandb
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
wandb.init(config=parser.parse_args())
hpsearch.report(loss=1 - wandb.config.lr)
"""


def test_a_tracker_that_keeps_its_run_in_a_module_has_one_of_each_trials_own(train: Any, tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text(WANDB)
    (tmp_path / "script.py").write_text(WANDB_SCRIPT)
    for lr in (0.25, 0.5):
        (row,) = _rows(train("", {"lr": lr}, file=tmp_path / "script.py", workers=1))
        assert row == {"loss": 1 - lr}


def test_a_tracker_that_ends_its_run_at_exit_is_told_that_it_went_well(train: Any, tmp_path: Path) -> None:
    """What mlflow does: `atexit` ends a run that is still active, as FINISHED unless the program raised."""
    (tmp_path / "mlflow.py").write_text(
        "import atexit, pathlib, sys\n"
        "def start_run(path):\n"
        "    atexit.register(lambda: pathlib.Path(path).write_text('FAILED' if sys.exc_info()[0] else 'FINISHED'))\n"
    )
    script = tmp_path / "script.py"
    script.write_text("import hpsearch, mlflow\nmlflow.start_run('state')\nhpsearch.report(loss=1)\nprint('the end')\n")
    assert _rows(train("", file=script, workers=1)) == [{"loss": 1.0}]
    assert (tmp_path / "state").read_text() == "FINISHED"
    assert "the end" in (tmp_path / "trials" / "0001" / "log.txt").read_text()
