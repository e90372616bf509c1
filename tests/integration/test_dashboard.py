"""Ray's dashboard and metrics, while a sweep with a Ray of its own runs: what somebody with the token sees."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hpsearch.cluster.open_ports import Port, own_processes, ray_ports
from hpsearch.cluster.private_files import access_of_others
from tests.support.blocks import blocks_of
from tests.support.browser import new_context
from tests.support.monitored import Watched, until_seen, watched_sweep
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.ray, pytest.mark.slow]

AGENT_PORT = 52365


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """A sweep on a machine where the port that Ray's agent takes by itself is taken, as by another Ray."""
    with socket.socket() as taken, tempfile.TemporaryDirectory(prefix="hps-watched-") as folder:
        with suppress(OSError):  # it is taken
            taken.bind(("", AGENT_PORT))
            taken.listen()
        with watched_sweep(Path(folder)) as running:
            yield running
        assert running.process.returncode == 0, (Path(folder) / "console.txt").read_text()


FIXED_METRICS = {(44217, "metrics"), (44227, "metrics")}
"""Metrics of Ray's autoscaler and of its dashboard, which the Ray of another test may serve in place of this one."""


def calls_of(watched: Watched) -> list[str]:
    tasks = watched.api("/api/v0/tasks?limit=10000")["data"]["result"]["result"]
    return [task["name"] for task in tasks if task["name"].startswith("trial ")]


def test_the_dashboard_is_closed_without_its_token(watched):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{watched.url}/api/v0/tasks", timeout=PATIENCE_S)
    refused.value.close()
    assert refused.value.code == 401


def test_no_port_of_ray_is_open_and_no_other_user_can_enter_its_folder(watched):
    def ports() -> list[Port]:
        found = ray_ports(own_processes(), driver=watched.process.pid)
        kinds = {(port.number, port.answer) for port in found} - FIXED_METRICS
        return found if "metrics" in {answer for _, answer in kinds} else []

    answers = [port.answer for port in until_seen(ports) if (port.number, port.answer) not in FIXED_METRICS]
    assert set(answers) == {"refused", "metrics"}
    assert answers.count("metrics") == 1
    assert answers.count("refused") >= 8  # GCS, raylet (2), dashboard, agent (3), runtime environments, driver, ranks
    heads = [each for each in own_processes() if "gcs_server" in each.command and each.parent == watched.process.pid]
    [session] = {Path(found[1]) for each in heads if (found := re.search(r"--session-dir=(\S+)", each.command))}
    for folder in (session, session / "logs", session / "sockets"):
        assert access_of_others(folder) == "none"
    assert stat.S_IMODE((Path.home() / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert "without a token" not in (watched.folder / "console.txt").read_text()


def test_calls_are_named_by_trial_epoch_metric_and_parameters(watched):
    found = until_seen(lambda: [name for name in calls_of(watched) if "val_loss" in name])
    assert re.fullmatch(r"trial [12] epoch \d+ val_loss \S+ lr=\S+ width=(16|32|64) optimizer=(sgd|adamw)", found[0])


def test_the_console_says_where_it_is_and_how_to_get_the_token(watched):
    said = (watched.folder / "console.txt").read_text()
    assert f"Ray dashboard: {watched.url} (asks for a token: `ray get-auth-token`)" in said
    ray = Path(sys.executable).with_name("ray")
    token = subprocess.run([ray, "get-auth-token"], capture_output=True, text=True, check=True).stdout
    assert watched.token in token


def test_every_slot_has_a_number(watched):
    def names() -> set[str]:
        actors = watched.api("/logical/actors")["data"]["actors"].values()
        return {actor["reprName"] for actor in actors if actor["actorClass"] == "Rank"}

    assert until_seen(lambda: names() == {"watched slot 1 rank 0", "watched slot 2 rank 0"})


def test_prometheus_finds_the_trials_with_their_tags_and_no_series_for_each_epoch(watched):
    def epochs() -> dict[str, float]:
        lines = watched.metrics().splitlines()
        found = {line.rpartition(" ")[0]: line for line in lines if line.startswith("ray_hpsearch_trial_epoch{")}
        return {key: float(line.rpartition(" ")[2]) for key, line in found.items()}

    series = until_seen(lambda: found if len(found := epochs()) == 2 and min(found.values()) >= 3 else {})
    tags = {tuple(re.findall(r'(?<=[,{])(slot|sweep|trial)="([^"]*)"', key)) for key in series}
    assert {frozenset(each) for each in tags} in (
        {frozenset({("slot", slot), ("sweep", "watched"), ("trial", trial)}) for slot, trial in pairs}
        for pairs in ([("1", "1"), ("2", "2")], [("2", "1"), ("1", "2")])
    )
    assert until_seen(lambda: 'state="running",sweep="watched"} 2.0' in watched.metrics())
    assert not [line for line in watched.metrics().splitlines() if line.startswith("ray_tasks") and "trial" in line]


def test_the_guides_way_to_look_at_the_gauges_works(watched):
    page = Path(__file__).parents[2] / "docs" / "monitoring.md"
    [(_, block)] = blocks_of(page)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def printed() -> str:
        command, environment = ["bash", "-euo", "pipefail", "-c", block], {**os.environ, "PATH": path}
        done = subprocess.run(command, cwd=watched.folder, env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    assert until_seen(lambda: "ray_hpsearch_trial_epoch{" in printed())


def test_logs_are_found_by_trial(watched):
    node = until_seen(lambda: watched.api("/api/v0/nodes")["data"]["result"]["result"][0]["node_id"])
    path = f"/api/v0/logs/file?node_id={node}&filename=sweep-watched/0001/log.txt&lines=9&format=text"
    assert until_seen(lambda: "is done" in watched.get(watched.url + path))


@pytest.mark.browser
def test_the_cluster_page_shows_which_trial_each_slot_runs(watched, browser: Any):
    token: Any = {"name": "ray-authentication-token", "value": watched.token, "url": watched.url}
    with new_context(browser, viewport={"width": 1500, "height": 1000}) as context:
        context.add_cookies([token])
        page = context.new_page()
        page.goto(f"{watched.url}/#/cluster")
        for number in (1, 2):
            page.get_by_text(re.compile(rf"^ray::trial {number} epoch \d+ ")).first.wait_for()


@pytest.mark.browser
def test_the_task_table_of_the_job_names_each_call_by_its_trial(watched, browser: Any):
    until_seen(lambda: [name for name in calls_of(watched) if "val_loss" in name])
    token: Any = {"name": "ray-authentication-token", "value": watched.token, "url": watched.url}
    with new_context(browser, viewport={"width": 1500, "height": 1000}) as context:
        context.add_cookies([token])
        page = context.new_page()
        page.goto(f"{watched.url}/#/jobs/{watched.api('/api/jobs/')[0]['job_id']}")
        page.get_by_text("Task Table").first.click()
        page.get_by_label("State").first.fill("RUNNING")
        page.keyboard.press("Enter")
        page.get_by_role("cell", name=re.compile(r"^trial [12] epoch \d+ val_loss \S+ lr=")).first.wait_for()


@pytest.fixture
def their_address() -> Iterator[str]:
    """A Ray that somebody started by `ray start`, with a token, as it is after a first sweep."""
    with tempfile.TemporaryDirectory(prefix="hps-theirs-", ignore_cleanup_errors=True) as folder:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=0", "--num-cpus=2"]
        command += ["--dashboard-port=0", "--dashboard-agent-listen-port=0", f"--temp-dir={folder}/ray"]
        said = Path(folder) / "said"
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        with said.open("w") as file:
            started = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            address = until_seen(lambda: re.search(r"--address='([\d.]+:\d+)'", said.read_text()))
            yield address[1]  # type: ignore[index]
        finally:
            started.terminate()
            started.wait(PATIENCE_S)


def test_on_a_ray_of_somebody_else_calls_are_named_by_trial_alone(their_address, tmp_path):
    environment = {"RAY_ADDRESS": their_address, "RAY_AUTH_MODE": "token"}
    with watched_sweep(tmp_path, **environment) as watched:
        names = until_seen(lambda: set(found) if len(set(found := calls_of(watched))) == 2 else set())
        assert {name.partition(" lr=")[0] for name in names} == {"trial 1 of watched", "trial 2 of watched"}
        assert until_seen(lambda: "ray_hpsearch_trial_epoch{" in watched.metrics())
    assert watched.process.returncode == 0
    assert not list((tmp_path / "sweeps" / ".monitoring").iterdir())
