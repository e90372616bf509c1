"""The doctor reports each thing that can be wrong, with what to do, and finds no fault with a good machine."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.cluster.open_ports import Port, Process
from hpsearch.doctor import examine, machine
from hpsearch.doctor import ray as ray_checks
from hpsearch.doctor.finding import Finding
from hpsearch.doctor.ledger import check_ledger
from hpsearch.doctor.ray import YOUNG_S, check_leftovers
from hpsearch.ledger.lock import writer_lock
from tests.support import curves
from tests.support.nvml_stub import DRIVER_NOT_LOADED, LIBRARY_MISMATCH, build_nvml_stub, run_with_gpus

GPUS = """
import json
from dataclasses import asdict
from hpsearch.doctor import gpus
gpus.cuda_version = lambda: "12.8"
print(json.dumps([asdict(each) for each in gpus.check_gpus()]))
"""


@pytest.fixture(scope="module")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stand-in for NVIDIA's library is."""
    return build_nvml_stub(tmp_path_factory.mktemp("nvml"))


def lines(findings: Iterator[Finding] | list[Finding]) -> list[tuple[str, str]]:
    return [(each.state, each.text) for each in findings]


def gpus_of(library_dir: Path | None, **more: Any) -> list[tuple[str, str]]:
    return [(each["state"], each["text"]) for each in run_with_gpus(GPUS, library_dir=library_dir, **more)]


def test_a_machine_without_a_driver_trains_on_the_cpu(library_dir):
    expected = [("ok", "no NVIDIA driver: trials run on the CPU")]
    assert gpus_of(None) == expected
    assert gpus_of(library_dir, init=DRIVER_NOT_LOADED) == expected


def test_a_driver_that_does_not_answer_is_a_problem(library_dir):
    [(state, text)] = gpus_of(library_dir, init=LIBRARY_MISMATCH)
    assert state == "problem"
    assert text.endswith("no GPU can be used")


def test_gpus_are_listed_with_their_memory_and_a_lost_one_is_a_problem(library_dir):
    assert gpus_of(library_dir, uuids="GPU-a,lost-b") == [
        ("ok", "GPU 0: Stub 16, 16.0 GiB free of 16.0 GiB"),
        ("problem", "GPU 1: GPU is lost"),
        ("ok", "1 of 2 GPUs usable, driver 580.65.06"),
    ]


def test_the_processes_that_hold_a_gpu_are_named(library_dir):
    found = gpus_of(library_dir, uuids="GPU-a", NVML_STUB_HELD=f"{os.getpid()}:9216")
    assert found[0][0] == "warning"
    assert f"7.0 GiB free of 16.0 GiB, held by {psutil.Process().name()}, pid {os.getpid()} (9.0 GiB)" in (found[0][1])
    gone = gpus_of(library_dir, uuids="GPU-a", NVML_STUB_HELD="4194000:100")
    assert gone[0] == ("ok", "GPU 0: Stub 16, 15.9 GiB free of 16.0 GiB, held by pid 4194000 (100 MiB)")


@pytest.mark.parametrize(
    ("variable", "value", "state"),
    [("NVML_STUB_ECC", "3", "problem"), ("NVML_STUB_DEGREES", "91", "warning"), ("NVML_STUB_DEGREES", "70", "ok")],
)
def test_an_unhealthy_gpu_is_reported(library_dir, variable, value, state):
    assert gpus_of(library_dir, uuids="GPU-a", **{variable: value})[0][0] == state


def test_hidden_gpus_and_a_pytorch_that_can_not_use_them_are_reported(library_dir):
    hidden = gpus_of(library_dir, uuids="GPU-a,GPU-b", CUDA_VISIBLE_DEVICES="")
    assert hidden[-1] == ("warning", "0 of 2 GPUs usable (CUDA_VISIBLE_DEVICES=), driver 580.65.06")
    for_cpu = GPUS.replace('lambda: "12.8"', "lambda: None")
    last = run_with_gpus(for_cpu, library_dir=library_dir, uuids="GPU-a")[-1]
    assert (last["state"], "built without CUDA" in last["text"]) == ("problem", True)


@pytest.mark.parametrize(
    ("version", "cuda"), [("2.13.0+cu128", "12.8"), ("2.13.0+cu130", "13.0"), ("2.13.0+cpu", None)]
)
def test_the_cuda_version_of_pytorch_follows_from_its_own(monkeypatch, version, cuda):
    monkeypatch.setattr(machine, "installed", lambda name: version)
    assert machine.cuda_version() == cuda


def test_a_package_that_is_missing_is_a_problem(monkeypatch):
    monkeypatch.setattr(machine, "installed", lambda name: None if name == "ray" else "1.0")
    [found] = machine.check_versions()
    assert found.state == "problem"
    assert "ray not installed" in found.text


def test_few_open_files_and_little_memory_are_warnings(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 1048576))
    memory = type("Memory", (), {"available": 2**30, "total": 2**34})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "getloadavg", lambda: (999.0, 0.0, 0.0))
    assert [(each.check, each.state, each.advice) for each in machine.check_host()] == [
        ("cpus", "warning", "Other programs keep the CPUs busy: trials will be slow. See top."),
        ("memory", "warning", "Ray and one trial need about 2.0 GiB. Free some."),
        ("files", "warning", "ulimit -n 65536"),
    ]


def test_full_disks_are_distinguished(monkeypatch, tmp_path):
    def usage(folder: Path) -> Any:
        free = {"shm": 60 * 2**20, "tmp": 2**30}.get(Path(folder).name, 2**40)
        return shutil._ntuple_diskusage(2**41, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    found = {each.check: each for each in machine.check_disks(tmp_path / "not" / "yet" / "there")}
    assert {check: each.state for check, each in found.items()} == {"home": "ok", "temp": "warning", "shm": "problem"}
    assert found["home"].text == f"{tmp_path}: 1 TiB free of 2 TiB"
    assert "--shm-size" in (found["shm"].advice or "")


def test_a_home_that_can_not_be_written_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert next(machine.check_disks(tmp_path)).text == f"{tmp_path} can't be written"


def test_the_ledger_lists_killed_sweeps_and_not_running_ones(home):
    curves.run(home, name="killed", max_reports=20)
    curves.run(home, name="whole", limits={"trials": 2, "epochs": 1})
    curves.run(home, name="runs", max_reports=3)
    with writer_lock(home / "runs", "runs"):
        found = list(check_ledger(home))
    assert lines(found) == [
        ("ok", f"{home}/ledger.db: 3 sweeps, all pages are readable"),
        ("warning", "sweep 'killed' was killed"),
    ]
    assert found[1].advice == f"Resume it: python -m hpsearch resume killed --home {home}"


@pytest.mark.parametrize("damage", ["cut", "overwritten", "no database"])
def test_a_damaged_ledger_is_a_problem(home, damage):
    curves.run(home)
    path = home / "ledger.db"
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes({
        "cut": whole[:middle],
        "overwritten": whole[:8192] + os.urandom(middle) + whole[8192 + middle :],
        "no database": b"not a database" * 999,
    }[damage])  # fmt: skip
    [found] = check_ledger(home)
    assert found.state == "problem"
    assert found.advice == f"Rebuild it from all that can be read: python -m hpsearch resume --rebuild --home {home}"


def test_no_ledger_is_no_problem(home):
    assert [each.state for each in check_ledger(home)] == ["ok"]


def test_processes_and_folders_of_killed_sweeps_are_found(tmp_path):
    for name in ("hps-aaaaaaaa", "hps-bbbbbbbb", "hps-cccccccc", "hps-tune-dddddddd", "hps-notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").write_bytes(b"x" * 2**20)
    head = "gcs_server --session-dir=/tmp/{}/r/session_1/x"
    processes = [
        Process(pid=1, parent=77, command=head.format("hps-aaaaaaaa")),
        Process(pid=2, parent=1, command="ray::trial 7 /tmp/hps-aaaaaaaa/s"),
        Process(pid=3, parent=1, command=head.format("hps-bbbbbbbb")),
        Process(pid=4, parent=1, command="python agent.py --temp-dir=/tmp/hps-bbbbbbbb/r --more"),
    ]
    later = time.time() + 2 * YOUNG_S
    found = list(check_leftovers(processes, tmp_path, now=later))
    assert lines(found) == [
        ("warning", "a killed sweep left 2 processes of hps-bbbbbbbb behind"),
        ("warning", "killed sweeps left 1 folder of 1 MiB behind"),
    ]
    assert (found[0].advice or "").endswith("kill -9 3 4")
    assert found[1].advice == f"rm -r {tmp_path}/hps-cccccccc"
    [alone] = check_leftovers([], tmp_path, now=later)
    assert "4 folders" in alone.text
    assert list(check_leftovers([], tmp_path, now=time.time())) == []


def test_a_ray_that_does_not_answer_is_a_problem(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        assert next(ray_checks.check_ray()).state == "ok"
    found = next(ray_checks.check_ray())
    assert (found.state, found.advice) == ("problem", "Start it, or: unset RAY_ADDRESS")
    monkeypatch.setenv("RAY_ADDRESS", "no address")
    assert next(ray_checks.check_ray()).state == "problem"


def test_the_process_that_uses_a_port_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(ray_checks, "PORTS", {server.getsockname()[1]: "dashboard"})
        [found] = ray_checks._check_ports()
    assert f"pid {os.getpid()}" in found.text


def test_what_the_ports_of_rays_answer_is_reported():
    ports = [
        Port(number=11, address="0.0.0.0", answer="refused"),
        Port(number=12, address="127.0.0.1", answer="refused"),
        Port(number=13, address="::", answer="metrics"),
        Port(number=14, address="::", answer="open"),
        Port(number=15, address="127.0.0.1", answer="unknown"),
    ]
    assert lines(ray_checks.check_open_ports(ports)) == [
        ("ok", "3 ports of your Rays can be reached from other machines: 11, 13, 14"),
        ("ok", "2 ports of your Rays refused a request without a token"),
        ("warning", "Ray's metrics are served without a token on 13: they name the parameters of trials"),
        ("warning", "1 port of your Rays answered a request without a token: 14"),
        ("warning", "1 port of your Rays gave no answer that is known: 15"),
    ]
    assert list(ray_checks.check_open_ports([])) == []


@pytest.mark.parametrize(
    ("folder_mode", "mode", "state", "text"),
    [
        (0o755, 0o644, "warning", "other users can read Ray's token, {}, of mode 0644"),
        (0o700, 0o644, "warning", "Ray's token, {}, has mode 0644: only a folder above it keeps other users out"),
        (0o755, 0o600, "ok", "only you can read Ray's token, {}"),
    ],
)
def test_a_token_that_others_can_read_is_a_warning(monkeypatch, open_path, folder_mode, mode, state, text):
    path = open_path / "home" / "token"
    path.parent.mkdir()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert list(ray_checks.check_token()) == []
    path.write_text("secret")
    path.chmod(mode)
    path.parent.chmod(folder_mode)
    [found] = ray_checks.check_token()
    assert (found.state, found.text) == (state, text.format(path))
    assert found.advice == (None if state == "ok" else f"chmod 600 {path}")


def test_a_folder_of_a_ray_that_others_can_write_is_a_warning(open_path):
    session = open_path / "hps-aaaaaaaa" / "r" / "session_1"
    session.mkdir(parents=True)
    for folder in (session, session.parent):
        folder.chmod(0o777)
    processes = [Process(pid=2, parent=1, command=f"/x/gcs_server --session-dir={session} --port=1")]
    session.parents[1].chmod(0o755)
    [found] = ray_checks.check_session_dirs(processes)
    assert (found.state, found.advice) == ("warning", f"chmod 700 {session.parent}")
    assert found.text == f"other users can write {session}, the folder of a Ray with its logs and sockets"
    session.parents[1].chmod(0o700)
    [found] = ray_checks.check_session_dirs(processes)
    assert (found.state, found.text) == ("ok", f"only you can enter {session}, the folder of a Ray")


def test_a_check_that_raises_is_a_problem_and_not_the_end(monkeypatch, home):
    def broken() -> Iterator[Finding]:
        raise RuntimeError("no such thing")
        yield

    monkeypatch.setattr(machine, "check_host", broken)
    found = {each.check: each for each in examine(home)}
    assert found["host"].text == "this check failed: RuntimeError: no such thing"
    assert {"versions", "home", "ledger"} <= found.keys()


def test_the_exit_code_says_whether_there_are_problems(monkeypatch, home):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = CliRunner().invoke(app, ["doctor", "--json", "--home", str(home)])
    report = json.loads(run.stdout)
    assert run.exit_code == (1 if report["problem"] else 0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    run = CliRunner().invoke(app, ["doctor", "--home", str(home)])
    assert run.exit_code == 1
    assert "PROBLEM  ray        no Ray answers at RAY_ADDRESS=127.0.0.1:1" in run.stdout


def test_the_doctor_imports_neither_ray_nor_torch(home):
    code = "import sys; from pathlib import Path; from hpsearch.doctor import examine\n"
    code += "list(examine(Path(sys.argv[1]))); print(sorted({'ray', 'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
