"""A sweep that another process runs, watched from here: its lock and processes are real, Ray is not needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.cli import watch as watch_verb
from hpsearch.engine.status import IdleReason
from hpsearch.ledger.store import Ledger
from hpsearch.live.follower import LedgerFollower
from hpsearch.live.frame import frame
from hpsearch.live.progress import DriverStatus
from hpsearch.live.status_file import StatusFile, read_status
from hpsearch.live.usage import Meter
from hpsearch.live.watch_view import usage_extras, watch_dict
from hpsearch.paths import processes_path, status_path
from hpsearch.slots.process_file import (
    Process,
    RankProcess,
    TrialProcesses,
    read_process_file,
    write_process_file,
)
from tests.support import curves, hostile
from tests.support.nvml_stub import build_nvml_stub, run_with_gpus
from tests.support.waiting import until

DRIVER = """
import sys, time
from pathlib import Path
from hpsearch.ledger.lock import writer_lock
from hpsearch.live.status_file import StatusFile
from hpsearch.live.progress import DriverStatus
from hpsearch.engine.status import IdleReason

folder = Path(sys.argv[1])
with writer_lock(folder, "curves"):
    reason = IdleReason(kind="place", text="trial 34 waits for a place in Ray", since=time.time() - 5)
    StatusFile(folder).write(DriverStatus(concurrent=4, idle_reason=reason, time_left_s=3600.0))
    print("ready", flush=True)
    sys.stdin.read()
"""
WORKER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print("ready", flush=True)
block = bytearray(64 * 2**20)
while True:
    sum(range(10000))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the sweep `curves`, which has made 90 reports and has not ended."""
    curves.run(tmp_path / "sweeps", max_reports=90)
    return tmp_path / "sweeps"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python program that says when it is ready and ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *words]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None and started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def rank_of(pid: int, **changes: Any) -> RankProcess:
    return RankProcess(process=replace(Process.of(pid), **changes), gpus="")


def running_trial(follower: LedgerFollower) -> int:
    return follower.progress.running[0].number


def watch(*words: str, home: Path) -> str:
    result = CliRunner().invoke(app, ["watch", *words, "--home", str(home)], env={"COLUMNS": "160", "LINES": "40"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_one_frame_shows_trials_their_processes_and_why_none_begins(home: Path, start):
    start(DRIVER, str(home / "curves"))
    worker = start(WORKER)
    with Ledger(home) as ledger:
        number = running_trial(LedgerFollower(ledger, ledger.sweep()))
    write_process_file(processes_path(home / "curves", number), TrialProcesses(attempt=1, ranks=(rank_of(worker.pid),)))
    text = watch("--once", home=home)
    assert text.startswith("curves | 30/64 trials (")
    assert "No trial begins: trial 34 waits for a place in Ray (for " in text
    assert "this machine: CPU" in text
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("> ")}
    assert "GiB" in lines.pop(str(number))
    assert len(lines) == 3 and all("starting" in line for line in lines.values())
    found = json.loads(watch("--json", home=home))
    assert found["waits_for"]["kind"] == "place"
    assert 0 < found["eta_s"] <= 3600
    trial = next(each for each in found["running"] if each["trial"] == number)
    assert trial["processes"] == 2
    assert trial["memory_gib"] > 64 / 1024
    assert trial["cpu_percent"] is not None, "measured between two refreshes"


def test_a_sweep_that_was_killed_is_shown_as_killed_with_the_command_that_resumes_it(home: Path, start):
    driver = start(DRIVER, str(home / "curves"))
    driver.kill()
    driver.wait()
    text = watch("--once", home=home)
    assert f"was killed: resume it with python -m hpsearch resume curves --home {home}" in text
    assert "0 running" in text and "interrupted" in text
    assert "waits for a place" not in text, "the status of a dead process"
    assert json.loads(watch("--json", home=home))["state"] == "killed"
    assert watch(home=home).startswith("curves was killed")


def test_watching_ends_with_the_sweep_and_prints_each_trial_that_ended(home: Path, start, monkeypatch):
    driver = start(DRIVER, str(home / "curves"))
    with Ledger(home, create=True) as ledger:
        record = ledger.sweep()
        running = next(trial for trial in ledger.trials(record) if trial.state == "running")

        def fail() -> None:
            ledger.update_trial(running.id, state="failed", cause="killed", evidence="gone", ended_at="2026-01-01")

        def end() -> None:
            ledger.end_sweep(record, "done")
            driver.kill()
            driver.wait()

        between_looks = iter([fail, end])
        monkeypatch.setattr(watch_verb, "time", SimpleNamespace(sleep=lambda seconds: next(between_looks)()))
        first, second, *_ = watch(home=home).splitlines()
    assert f"! trial {running.number} failed after" in first
    assert second == "curves is done"


def test_a_process_that_has_got_the_number_of_another_is_not_counted(home: Path, start):
    worker = start(WORKER)
    ranks = (rank_of(worker.pid), rank_of(worker.pid, started=1), rank_of(worker.pid, boot="an earlier one"))
    processes = {number: TrialProcesses(attempt=1, ranks=(rank,)) for number, rank in enumerate(ranks, 1)}
    measured = Meter().measure(processes)
    assert [use.num_processes for use in measured.trials.values()] == [2, 0, 0]


def test_cpu_usage_is_that_between_two_measurements(start):
    meter, roster = Meter(), TrialProcesses(attempt=1, ranks=(rank_of(start(WORKER).pid),))
    assert meter.measure({1: roster}).trials[1].cpu_percent is None
    assert until(lambda: meter.measure({1: roster}).trials[1].cpu_percent or 0.0) > 0


def test_processes_of_another_machine_are_named_by_it(home: Path, start):
    start(DRIVER, str(home / "curves"))
    with Ledger(home) as ledger:
        follower = LedgerFollower(ledger, ledger.sweep())
        number = running_trial(follower)
        roster = TrialProcesses(attempt=1, ranks=(rank_of(os.getpid(), host="node-b"),))
        write_process_file(processes_path(home / "curves", number), roster)
        follower.refresh()
        measured = Meter().measure(follower.processes)
        extras = usage_extras(follower, measured)
        lines = [line for line, _ in frame(follower.progress, width=200, height=30, extras=extras)]
    assert measured.trials[number].elsewhere == ("node-b",)
    assert next(line for line in lines if line.split()[:2] == [">", str(number)]).count("node-b") == 1
    assert watch_dict(follower, measured)["running"][0]["elsewhere"] == ["node-b"]


def test_the_processes_of_an_earlier_attempt_are_not_those_of_the_next(home: Path, start):
    start(DRIVER, str(home / "curves"))
    with Ledger(home) as ledger:
        follower = LedgerFollower(ledger, ledger.sweep())
        number = running_trial(follower)
        path = processes_path(home / "curves", number)
        write_process_file(path, TrialProcesses(attempt=2, ranks=(rank_of(os.getpid()),)))
        follower.refresh()
        assert follower.processes == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"attempt": 1, "ranks": [{"process": {"pid": "1"}}]}', "\x00"])
def test_files_of_other_content_are_ignored(tmp_path: Path, text: str):
    path = processes_path(tmp_path, 1)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    status_path(tmp_path).write_text(text)
    assert read_process_file(path) is None
    assert read_status(tmp_path) is None


def test_a_link_in_the_place_of_a_status_file_is_not_followed(tmp_path: Path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    paths = (processes_path(tmp_path, 1), status_path(tmp_path))
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(outside)
    write_process_file(paths[0], TrialProcesses(attempt=1, ranks=()))
    StatusFile(tmp_path).write(DriverStatus(concurrent=1))
    assert outside.read_text() == "mine"
    assert not any(path.is_symlink() for path in paths)


def test_the_status_file_is_written_when_the_status_has_changed(tmp_path: Path):
    status_file = StatusFile(tmp_path)
    status_file.write(DriverStatus(concurrent=1))
    written = (tmp_path / "live.json").stat().st_ino
    status_file.write(DriverStatus(concurrent=1))
    assert (tmp_path / "live.json").stat().st_ino == written
    status_file.write(DriverStatus(concurrent=1, idle_reason=IdleReason(kind="disk", text="full", since=0.0)))
    assert (tmp_path / "live.json").stat().st_ino != written
    status_file.remove()
    assert not list(tmp_path.iterdir())
    status_file.write(DriverStatus(concurrent=2))
    assert not list(tmp_path.iterdir()), "a write that comes late, on a busy machine"


@pytest.mark.parametrize("flags", [["--once"], ["--json"], []])
def test_no_text_of_a_sweep_reaches_a_terminal_as_a_command(tmp_path: Path, flags: list[str]):
    hostile.run(tmp_path / "sweeps")
    lines = watch(*flags, home=tmp_path / "sweeps").splitlines()
    assert len(lines) > 1
    assert all(line.isprintable() for line in lines)


def test_gpu_usage_is_shown_for_each_trial(tmp_path: Path):
    code = """
import json, os
from dataclasses import replace
from hpsearch.live.usage import Meter
from hpsearch.live.watch_view import _cells, _gpu_line
from hpsearch.slots.process_file import Process, RankProcess, TrialProcesses
ranks = [RankProcess(process=Process.of(os.getpid()), gpus=gpus) for gpus in ("0", "GPU-b")]
of = [TrialProcesses(attempt=1, ranks=tuple(each)) for each in (ranks, ranks[1:])]
measured = Meter().measure({7: of[0], 8: of[1]})
lines = [_gpu_line(gpu) for gpu in measured.machine.gpus]
print(json.dumps([[_cells(use)["gpu"] for use in measured.trials.values()], lines]))
"""
    code = "import os; os.environ['NVML_STUB_HELD'] = f'{os.getpid()}:2048'\n" + code
    library_dir = build_nvml_stub(tmp_path)
    more: dict[str, Any] = {"NVML_STUB_BUSY": "87", "NVML_STUB_DEGREES": "61"}
    by_trial, by_gpu = run_with_gpus(code, library_dir=library_dir, uuids="GPU-a,GPU-b,lost-c", **more)
    assert by_trial == ["0: 87 % 61 °C 2.0 GiB; 1: 0 % 0 °C - GiB", "1: 0 % 0 °C - GiB"]
    assert by_gpu == [
        "GPU 0: 87 % 61 °C 2.0 GiB of 16 GiB",
        "GPU 1: 0 % 0 °C 0.0 GiB of 16 GiB",
        "GPU 2: - % - GiB of - GiB",
    ]


@pytest.mark.parametrize("flags", [["--once"], ["--json"], []])
def test_watching_needs_neither_ray_nor_torch_nor_pandas(home: Path, flags: list[str]):
    words = ["hpsearch", "watch", *flags, "--home", str(home)]
    code = "import atexit, sys\nfrom hpsearch.cli import main\n"
    code += "atexit.register(lambda: print(sorted({'ray', 'torch', 'pandas'} & set(sys.modules))))\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.argv = {words!r}\nmain()"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
