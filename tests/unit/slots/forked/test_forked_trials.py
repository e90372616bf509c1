"""Attempts in processes of their own, forked from a preload server, as a rank runs them; without Ray."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cloudpickle
import psutil
import pytest

from hpsearch.slots.forked import preload_server
from hpsearch.slots.forked.channel import Channel, ChannelClosed
from hpsearch.slots.forked.forked_trials import ForkedTrials
from hpsearch.slots.forked.messages import NotForked, Ready
from hpsearch.slots.forked.preload_modules import preload, variables_set
from hpsearch.slots.forked.preload_server import PreloadServer, server_name
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.trainable.locate import locate
from tests.support.slot_settings import settings_of
from tests.support.waiting import until

RUN = uuid.uuid4().hex
"""One server for the tests of this module: starting one takes seconds."""


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """The server, held by a rank of its own."""
    keeper = _rank(tmp_path_factory.mktemp("keeper"), lambda config: None)
    keeper.load()
    assert keeper._server is not None
    found = psutil.Process(keeper._server.peer()[0])
    yield found
    keeper.close()
    until(lambda: not found.is_running())


def _rank(folder: Path, function: Any, **settings: Any) -> ForkedTrials:
    made = settings_of(
        **{
            "run": RUN,
            "trainable": cloudpickle.dumps(function),
            "sweep_dir": str(folder),
            "working_dir": str(folder),
            "environment": {name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "grace_s": 20.0,
            **settings,
        }
    )
    return ForkedTrials(made, working_dir=str(folder), sys_path=tuple(sys.path), position=RankPosition(), ranks_here=1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Begins an attempt at a trial, of a function or of the text of a training file, on a rank."""
    ranks: list[ForkedTrials] = []

    def begin(function: Any, *, config: dict[str, Any] | None = None, **settings: Any) -> ForkedTrials:
        rank = _rank(tmp_path, function, **settings)
        ranks.append(rank)
        rank.load()
        rank.begin(Assignment(number=1, attempt=1, config=config or {}, seed=0, max_epochs=None), None)
        return rank

    yield begin
    for rank in ranks:
        rank.finish(save=False, run_to_end=False)
        rank.close()


def test_each_attempt_is_a_new_process_and_nothing_that_one_leaves_reaches_the_next(start: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(MESSY)
    source = locate(f"{tmp_path / 'train.py'}:train", spec_dir=None)
    for number in range(3):
        rank = start(source, config={"copy": number})
        reply = rank.step(save=False)
        assert reply.metrics == {"loss": 0.0}, "nothing of an earlier trial is there"
        assert rank.finish(save=False, run_to_end=False).notes == ()


MESSY = """
import locale, logging, os, random, resource, signal, sys, threading, time
import numpy
import torch

SEEN = []
log = logging.getLogger("mine")
random.seed(0), numpy.random.seed(0), torch.manual_seed(0)  # as the trial's seed, 0, does
FIRST = {"random": random.random(), "numpy": numpy.random.random(), "torch": float(torch.rand(1))}


def train(config):
    dirty = [
        len(SEEN), len(log.handlers), "MARK" in os.environ, os.getcwd() == "/", hasattr(torch.nn.functional, "patched"),
        threading.active_count() > 1, signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL, "json.tool" in sys.modules,
        resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 99, os.umask(0o22) == 0o77,
        torch.get_default_dtype() is torch.float64, numpy.geterr()["over"] == "raise", random.getrandbits is None,
        locale.setlocale(locale.LC_NUMERIC) == "C.UTF-8", sys.excepthook is print, time.tzname == ("XXX", "XXX"),
        random.random() != FIRST["random"], numpy.random.random() != FIRST["numpy"],
        float(torch.rand(1, dtype=torch.float32)) != FIRST["torch"],
    ]
    SEEN.append(config["copy"])
    log.addHandler(logging.StreamHandler())
    os.environ["MARK"] = "1"
    os.chdir("/")
    torch.nn.functional.patched = True
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    signal.signal(signal.SIGUSR1, lambda *_: None)
    import json.tool
    resource.setrlimit(resource.RLIMIT_NOFILE, (99, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.umask(0o77)
    torch.set_default_dtype(torch.float64)
    numpy.seterr(over="raise")
    random.getrandbits = None
    locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
    sys.excepthook = print
    os.environ["TZ"] = "XXX"
    time.tzset()
    yield {"loss": float(sum(dirty))}
"""


def test_a_process_that_is_killed_fails_its_attempt_with_the_signal_and_the_rank_lives_on(start: Any) -> None:
    def killed(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        yield {"loss": 1.0}
        os.kill(os.getpid(), signal.SIGKILL)

    rank = start(killed)
    assert rank.step(save=False).metrics == {"loss": 1.0}
    failure = rank.step(save=False).failure
    assert failure is not None and failure.cause == "killed"
    assert "was killed by signal 9 (Killed)" in failure.evidence


def test_a_process_that_exits_has_its_exit_code_and_one_that_crashes_its_stack(start: Any, tmp_path: Path) -> None:
    def leaves(config: dict[str, Any]) -> None:
        os._exit(3)

    def crashes(config: dict[str, Any]) -> None:
        import ctypes

        ctypes.string_at(0)

    left, crashed = start(leaves).step(save=False).failure, start(crashes).step(save=False).failure
    assert left.evidence.endswith("exited with code 3")
    assert "was killed by signal 11 (Segmentation fault); its stack is in the log" in crashed.evidence
    assert "in crashes" in (tmp_path / "trials" / "0001" / "log.txt").read_text()


def _close(config: dict[str, Any]) -> None:
    """What training code may do to the streams and descriptors of its output."""
    if config["how"] == "close":
        sys.stdout.close()
        sys.stderr.close()
    elif config["how"] == "none":
        sys.stdout = sys.stderr = None
    elif config["how"] == "replace":
        sys.stdout = sys.stderr = object()
    else:
        os.close(1)
        os.close(2)


@pytest.mark.parametrize("how", ["close", "none", "replace", "descriptors"])
def test_a_trial_that_closes_or_replaces_its_output_trains_and_its_own_error_is_the_evidence(
    start: Any, tmp_path: Path, how: str
) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        _close(config)
        yield {"loss": 1.0}
        raise KeyError("my own mistake")

    rank = start(train, config={"how": how})
    assert rank.step(save=False).metrics == {"loss": 1.0}
    failure = rank.step(save=False).failure
    assert failure.cause == "user_error"
    assert "my own mistake" in failure.evidence and "test_forked_trials.py:" in failure.evidence
    if how != "descriptors":
        assert "my own mistake" in (tmp_path / "trials" / "0001" / "log.txt").read_text()


def test_a_process_that_is_terminated_has_its_signal(start: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    failure = start(train).step(save=False).failure
    assert failure.cause == "killed" and failure.evidence.endswith("was killed by signal 15 (Terminated)")


def test_a_trial_that_exits_in_its_handler_of_a_signal_has_not_ended_by_itself(start: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        def save_and_exit(*_: Any) -> None:
            sys.exit(0)

        if config["by_signal"]:
            signal.signal(signal.SIGTERM, save_and_exit)
            os.kill(os.getpid(), signal.SIGTERM)
        save_and_exit()

    failure = start(train, config={"by_signal": True}).step(save=False).failure
    assert failure.cause == "killed" and failure.evidence.startswith("signal 15 (Terminated) ended it (")
    assert "in save_and_exit)" in failure.evidence and failure.place is None
    assert start(train, config={"by_signal": False}).step(save=False).ended


def _leaves_a_family(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """A child of every kind, and what a loader starts by fork, spawn and forkserver."""
    import multiprocessing
    import subprocess
    import time

    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    for stays in (False, True):
        if os.fork() == 0:
            if stays:
                os.setsid()
                if os.fork():
                    os._exit(0)
            time.sleep(600)
    for kind in ("fork", "spawn", "forkserver"):
        context: Any = multiprocessing.get_context(kind)
        context.Process(target=time.sleep, args=(600,), daemon=False).start()
    until(lambda: len([each for each in psutil.Process().children(recursive=True) if _sleeps(each)]) >= 7)
    yield {"loss": float(os.getpid())}
    if config["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        yield {"loss": 1.0}


def _sleeps(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_SLEEPING


@pytest.mark.parametrize("end", ["dies", "finish", "rank", "kill"])
def test_all_that_a_trial_has_started_ends_with_it(start: Any, end: str) -> None:
    rank = start(_leaves_a_family, config={"dies": end == "dies"})
    pid = int(rank.step(save=False).metrics["loss"])
    trial = psutil.Process(pid)
    family = [trial, *trial.children(recursive=True)]
    assert len(family) >= 8
    if end == "dies":
        assert rank.step(save=False).failure.cause == "killed"
    elif end == "finish":
        rank.finish(save=False, run_to_end=False)
    elif end == "rank":
        rank.close()
    else:
        rank.end()
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family))


def test_the_code_after_the_last_epoch_runs_to_its_end(start: Any, tmp_path: Path) -> None:
    written = tmp_path / "weights"

    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        import atexit

        atexit.register((tmp_path / "atexit").write_text, "ran")
        for _ in range(2):
            yield {"loss": 1.0}
        written.write_text("saved")

    rank = start(train)
    assert [rank.step(save=False).epoch for _ in range(2)] == [1, 2]
    assert rank.finish(save=False, run_to_end=True).notes == ()
    assert written.read_text() == "saved" and (tmp_path / "atexit").read_text() == "ran"


def test_a_paused_trial_is_stopped_where_it_waits(start: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        try:
            yield {"loss": 1.0}
            (tmp_path / "after").touch()
        finally:
            (tmp_path / "finally").touch()

    rank = start(train)
    rank.step(save=False)
    assert rank.finish(save=False, run_to_end=False).notes == ()
    assert (tmp_path / "finally").exists() and not (tmp_path / "after").exists()


def test_an_end_that_raises_or_takes_too_long_is_a_note(start: Any) -> None:
    def raises(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        yield {"loss": 1.0}
        raise OSError("no room for the weights")

    def sleeps(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        import time

        yield {"loss": 1.0}
        time.sleep(600)

    for train, text, grace_s in ((raises, "no room for the weights", 20.0), (sleeps, "was killed", 0.2)):
        rank = start(train, grace_s=grace_s)
        rank.step(save=False)
        (note,) = rank.finish(save=False, run_to_end=True).notes
        assert text in note


def test_a_function_that_reports_runs_in_the_main_thread_with_the_argv_of_a_program(start: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        import threading

        import hpsearch

        signal.signal(signal.SIGUSR1, lambda *_: None)
        assert threading.current_thread() is threading.main_thread()
        hpsearch.report(loss=len(sys.argv), threads=threading.active_count())
        hpsearch.report(loss=2.0)

    rank = start(train)
    assert rank.step(save=False).metrics == {"loss": 1.0, "threads": 1.0}
    assert rank.step(save=False).metrics == {"loss": 2.0}
    assert rank.step(save=False).ended


def test_a_trial_starts_no_ray_of_its_own_beside_the_one_of_the_sweep(start: Any) -> None:
    def train(config: dict[str, Any]) -> None:
        import ray

        ray.put(1)

    failure = start(train).step(save=False).failure
    assert failure is not None and "ray" in failure.evidence.lower() and "init" in failure.evidence.lower()


def test_nothing_of_ray_is_in_the_process_and_the_server_has_no_thread_of_its_own(
    start: Any, server: psutil.Process
) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        import torch

        yield {
            "loss": sum(name.partition(".")[0] == "ray" for name in sys.modules),
            "variables": sum(name.startswith("RAY_") for name in os.environ),
            "preloaded": "torch._dynamo" in sys.modules,
            "cuda": torch.cuda.is_initialized(),
        }

    metrics = start(train).step(save=False).metrics
    assert metrics == {"loss": 0.0, "variables": 1.0, "preloaded": 1.0, "cuda": 0.0}
    assert server.num_threads() == 1
    assert " ".join(server.cmdline()).strip() == "hpsearch test preload"


def test_the_death_of_the_server_counts_as_a_lost_node_and_the_next_attempt_has_another(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        yield {"loss": float(os.getpid())}
        (tmp_path / "busy").touch()
        while True:
            time.sleep(1)  # it does not see that its connection to the rank is closed: the kernel kills it

    rank = _rank(tmp_path, train, run=uuid.uuid4().hex)
    assignment = Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None)
    rank.begin(assignment, None)
    trial = psutil.Process(int((rank.step(save=False).metrics or {})["loss"]))
    server = psutil.Process(trial.ppid())
    killer = threading.Thread(target=lambda: until((tmp_path / "busy").exists) and server.kill())
    killer.start()
    failure = rank.step(save=False).failure
    killer.join()
    assert failure is not None and failure.cause == "node_lost"
    until(lambda: not trial.is_running())
    rank.finish(save=False, run_to_end=False)
    rank.begin(assignment, None)
    assert rank.step(save=False).metrics
    rank.finish(save=False, run_to_end=False)
    rank.close()


@pytest.mark.parametrize("killed", ["rank", "server"])
def test_a_busy_trial_ends_with_its_rank_and_with_its_server_though_the_rank_is_stopped(
    tmp_path: Path, killed: str
) -> None:
    """The server kills the trials of a rank that is gone; the kernel kills those of a server that is gone."""

    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        (tmp_path / "pid").write_text(f"{os.getpid()}\n")
        while True:
            time.sleep(1)  # it does not see that its connection to the rank is closed
        yield {}

    run = RUN if killed == "rank" else uuid.uuid4().hex
    pid = os.fork()
    if pid == 0:
        rank = _rank(tmp_path, train, run=run)
        rank.load()
        rank.begin(Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None), None)
        rank.step(save=False)
        os._exit(1)
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        trial = psutil.Process(int((tmp_path / "pid").read_text()))
        if killed == "server":
            os.kill(pid, signal.SIGSTOP)  # a rank that runs kills its trial itself
            psutil.Process(trial.ppid()).kill()
            until(lambda: not trial.is_running() or trial.status() == psutil.STATUS_ZOMBIE)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    until(lambda: not trial.is_running())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_server_does_not_serve_another_user(server: psutil.Process) -> None:
    code = "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
    code += f" s.settimeout(200); s.connect({server_name(RUN)!r}); sys.exit(s.recv(1) != b'')"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert server.is_running()


def test_a_function_that_only_returns_its_metrics_has_one_epoch(start: Any) -> None:
    rank = start(lambda config: {"loss": 3})
    assert rank.step(save=False).metrics == {"loss": 3.0}
    assert rank.step(save=False).ended


@pytest.mark.parametrize("row", [{"loss": float("nan")}, {"other": 1.0}], ids=["diverged", "missing"])
def test_a_trial_with_bad_metrics_is_stopped_at_once(start: Any, tmp_path: Path, row: dict[str, float]) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        try:
            yield row
        finally:
            (tmp_path / "finally").touch()

    rank = start(train, grace_s=600.0)
    assert rank.step(save=False).failure is not None
    assert rank.finish(save=False, run_to_end=False).notes == ()
    assert (tmp_path / "finally").exists()


def test_data_that_a_trial_first_asks_for_in_a_later_epoch_are_there_for_the_next(start: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SHARES)
    (tmp_path / "images").mkdir()
    source = locate(f"{tmp_path / 'train.py'}:train", spec_dir=None)
    rank = start(source, data={"root": str(tmp_path / "images")})
    assert [rank.step(save=False).metrics["loss"] for _ in range(2)] == [0.0, 1.0], "it is loaded in the second epoch"
    rank.end()  # whatever becomes of the trial
    rank.finish(save=False, run_to_end=False)
    (tmp_path / "images" / "late").touch()  # listed once for each rank: a sweep's data do not change
    rank.begin(Assignment(number=2, attempt=1, config={}, seed=0, max_epochs=None), None)
    assert [rank.step(save=False).metrics["loss"] for _ in range(2)] == [0.0, 0.0]


SHARES = """
import torch
import hpsearch

LOADS = []


def load():
    LOADS.append(1)
    return torch.zeros(1000)


def train(config):
    yield {"loss": float(len(LOADS))}
    hpsearch.shared_data(load)
    yield {"loss": float(len(LOADS))}
"""


def test_objects_bound_by_with_parameters_are_mapped_not_copied(start: Any) -> None:
    import torch
    from ray import tune

    def train(config: dict[str, Any], weights: Any) -> Iterator[dict[str, float]]:
        with open("/proc/self/maps") as maps:
            mapped = "memfd:hpsearch-data-function-" in maps.read()
        yield {"loss": float(weights.sum()), "mapped": mapped}

    rank = start(tune.with_parameters(train, weights=torch.ones(100_000)))
    assert rank.step(save=False).metrics == {"loss": 100_000.0, "mapped": 1.0}


def test_a_loop_that_continues_beyond_the_last_epoch_costs_one_epoch_once(start: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        for epoch in range(100):
            with (tmp_path / "epochs").open("a") as file:
                file.write(f"{epoch} ")
            yield {"loss": 1.0}

    rank = start(train)
    notes = []
    for number in (2, 3):
        rank.step(save=False)
        notes.append(rank.finish(save=False, run_to_end=True).notes)
        rank.begin(Assignment(number=number, attempt=1, config={}, seed=0, max_epochs=1), None)
    assert [len(each) for each in notes] == [1, 0] and "continues beyond limits.epochs" in notes[0][0]
    assert (tmp_path / "epochs").read_text().split() == ["0", "1", "0"]


def test_without_grace_a_trial_is_stopped_at_its_last_epoch(start: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        import atexit

        atexit.register((tmp_path / "atexit").touch)
        yield {"loss": 1.0}
        (tmp_path / "after").touch()

    rank = start(train, grace_s=0.0)
    rank.step(save=False)
    assert rank.finish(save=False, run_to_end=True).notes == ()
    assert (tmp_path / "atexit").exists() and not (tmp_path / "after").exists()


def test_a_server_that_dies_between_two_trials_is_replaced(tmp_path: Path) -> None:
    rank = _rank(tmp_path, lambda config: {"loss": os.getppid()}, run=uuid.uuid4().hex)
    seen = set()
    for number in (1, 2):
        rank.begin(Assignment(number=number, attempt=1, config={}, seed=0, max_epochs=None), None)
        server = psutil.Process(int((rank.step(save=False).metrics or {})["loss"]))
        seen.add(server.pid)
        rank.finish(save=False, run_to_end=False)
        server.kill()
    assert len(seen) == 2
    rank.close()


def test_variables_that_the_users_code_sets_are_found() -> None:
    source = (
        b"import os\nos.environ.update(A='1', **{})\nos.putenv('B', '1')\nprint(os.environ['C'])\nos.environ['D'] = ''"
    )
    assert variables_set(source) == {"A", "B", "D"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "a thread"),
        ("import socket\nKEPT = socket.socket()", "a socket"),
        ("import os\nVALUE = os.environ.get('MY_RANK')", "it reads MY_RANK"),
        ("raise SystemExit(3)", "it can't be imported: SystemExit"),
        ("import sys, types\nsys.modules['wandb'] = types.ModuleType('wandb')", "it imports wandb"),
        ("VALUE = 1", None),
    ],
)
def test_a_module_whose_import_makes_forks_unsafe_is_left_to_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str | None
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("hpsearch.slots.forked.preload_modules.BASE", ())
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    name = f"bad_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(source)
    bad: dict[str, str] = {}
    preload([name], {}, variables={"MY_RANK"}, on_bad=bad.__setitem__)
    kept = getattr(sys.modules.pop(name, None), "KEPT", None)
    if kept is not None:
        kept.close()
    sys.modules.pop("wandb", None)
    assert list(bad) == ([] if reason is None else [name])
    assert reason is None or reason in bad[name]


@pytest.mark.parametrize("level", ["trials", "trials/0001", "trials/0001/checkpoint"])
def test_a_trial_whose_folder_is_a_link_runs_none_of_the_users_code(tmp_path: Path, level: str) -> None:
    (tmp_path / level).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / level).symlink_to(tmp_path / "outside")

    def train(config: dict[str, Any]) -> dict[str, float]:
        Path(config["mark"]).write_text("it ran")
        return {"loss": 1.0}

    rank = _rank(tmp_path, train)
    config = {"mark": str(tmp_path / "mark")}
    rank.begin(Assignment(number=1, attempt=1, config=config, seed=0, max_epochs=None), None)
    failure = rank.step(save=True).failure
    rank.finish(save=True, run_to_end=False)
    rank.close()
    assert failure is not None and f"{level}: this is a symbolic link to {tmp_path}/outside" in failure.evidence
    assert not (tmp_path / "mark").exists() and list((tmp_path / "outside").iterdir()) == []


def test_a_trial_whose_log_can_not_be_written_fails_with_the_reason_and_the_rank_lives_on(tmp_path: Path) -> None:
    (tmp_path / "trials" / "0001").mkdir(parents=True)
    (tmp_path / "trials" / "0001" / "log.txt").symlink_to(tmp_path / "elsewhere")
    rank = _rank(tmp_path, lambda config: {"loss": 1.0})
    rank.begin(Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=None), None)
    failure = rank.step(save=False).failure
    assert failure is not None and "log.txt" in failure.evidence and not (tmp_path / "elsewhere").exists()
    rank.finish(save=False, run_to_end=False)
    rank.begin(Assignment(number=2, attempt=1, config={}, seed=0, max_epochs=None), None)
    assert rank.step(save=False).metrics == {"loss": 1.0}
    rank.finish(save=False, run_to_end=False)
    rank.close()


def fine(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """One epoch."""
    yield {"loss": 0.0}


def test_a_process_that_can_not_be_set_up_is_no_failure_of_the_trainable(start: Any, tmp_path: Path) -> None:
    (tmp_path / "trials" / "0001" / "log.txt").mkdir(parents=True)
    failure = start(fine).step(save=False).failure
    assert (failure.cause, failure.has_begun) == ("node_lost", False)
    assert "could not begin: IsADirectoryError" in failure.evidence
    assert failure.evidence.endswith("(set-up of the trial's process)")


def test_a_process_that_ends_before_the_users_code_is_no_killed_trial_and_one_that_ends_at_its_import_is(
    start: Any, tmp_path: Path
) -> None:
    rank = start(fine)
    rank._trial.has_begun, rank._trial.status = False, signal.SIGKILL
    failure = rank.step(save=False).failure
    assert (failure.cause, failure.has_begun) == ("node_lost", False)
    assert "was killed by signal 9" in failure.evidence
    rank.finish(save=False, run_to_end=False)
    (tmp_path / "train.py").write_text("import os\nos.kill(os.getpid(), 9)\ndef train(config): ...\n")
    failure = start(locate(f"{tmp_path / 'train.py'}:train", spec_dir=None)).step(save=False).failure
    assert (failure.cause, failure.has_begun) == ("killed", True)


def test_limits_that_a_trial_lowers_for_the_server_do_not_reach_the_next_trial(
    start: Any, server: psutil.Process
) -> None:
    def limit(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        import resource

        yield {"loss": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])}

    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4, before[1]))
    assert start(limit).step(save=False).metrics == {"loss": float(before[0])}
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == before


@pytest.fixture
def idle_server() -> Iterator[tuple[PreloadServer, Channel]]:
    """A server in this process, and the end of a rank that has connected to it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"\0hpsearch-test-{uuid.uuid4().hex}")
    listener.listen(1)
    server = PreloadServer(listener, skipped={})
    rank = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    rank.connect(listener.getsockname())
    server._accept()
    channel = Channel(rank)
    assert isinstance(_content(channel), Ready)
    yield server, channel
    channel.close()
    for each in server._ranks.values():
        each.close()
    listener.close()
    for number in (server._wakeup, server._wake):
        os.close(number)


def _content(channel: Channel) -> object:
    message = channel.receive(timeout_s=5)
    assert message is not None
    return message.content


def test_a_server_that_the_kernel_refuses_a_fork_says_so_and_serves_on(
    idle_server: tuple[PreloadServer, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    server, rank = idle_server
    monkeypatch.setattr(os, "fork", refuse)
    rank.send(cast(Any, "a launch"), (rank.fileno(),))
    assert server._receive(next(iter(server._ranks.values()))) is None
    assert _content(rank) == NotForked(errno.EAGAIN)
    assert len(server._ranks) == 1


def test_a_server_whose_limits_can_not_be_restored_leaves_its_name_to_another_and_forks_no_more(
    idle_server: tuple[PreloadServer, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, rank = idle_server
    name = server._listener.getsockname()
    monkeypatch.setattr(preload_server, "restore_limits", lambda limits: False)
    server._check_limits()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(name)
    rank.send(cast(Any, "a launch"), (rank.fileno(),))
    assert server._receive(next(iter(server._ranks.values()))) is None
    with pytest.raises(ChannelClosed):
        rank.receive(timeout_s=5)
    assert server._ranks == {}
