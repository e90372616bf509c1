"""What a sweep makes of several machines, without any: nodes that come and go, places for workers, paths that move."""

from __future__ import annotations

import pytest

from hpsearch.cluster.connect import _why_not, address_of, connect
from hpsearch.cluster.nodes import CHECK_EVERY_S, Files, Node, NodeWatch, moved
from hpsearch.devices.requests import WorkerRequest, check_fits_on, fits_on, workers_on
from hpsearch.errors import SpecError
from hpsearch.slots.reporter import _loader_workers
from hpsearch.slots.settings import SlotSettings
from hpsearch.spec.sweep import Sweep


def node(name: str, cpus: float = 4.0, gpus: int = 0) -> Node:
    return Node(id=name, address=f"10.0.0.{name}", cpus=cpus, gpus=gpus)


def request(cpu: float = 1, gpu: float = 0, workers: int = 1) -> WorkerRequest:
    return WorkerRequest(cpu=cpu, gpu=gpu, workers=workers)


def test_what_this_machine_has_no_place_for_is_told_before_ray_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # tests before this one may have one
    monkeypatch.setattr("hpsearch.cluster.connect._start", lambda *_: pytest.fail("a Ray was started"))
    sweep = Sweep.from_dict(
        {"metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": 1}, "resources": {"gpu": 1}}
    )
    message = r"resources\.gpu: a trial asks for 1 GPU, there are 0\. Ask for less\."
    with pytest.raises(SpecError, match=message), connect(sweep, files=Files(home=tmp_path, code={}), num_gpus=0):
        pass


@pytest.mark.parametrize(
    ("asked", "machines", "fits"),
    [
        (request(cpu=3), [(4, 0), (4, 0), (4, 0)], 3),  # one machine of 12 would hold 4
        (request(cpu=3, workers=2), [(4, 0), (4, 0), (4, 0)], 1),
        (request(gpu=1), [(8, 2), (1, 2)], 3),  # the second has no CPU for its other GPU
        (request(gpu=0.4), [(8, 1), (8, 1)], 4),
        (request(cpu=8), [(4, 0), (4, 0)], 0),
        (request(cpu=1, workers=2), [(1, 0), (1, 0)], 1),
    ],
)
def test_workers_are_counted_for_each_machine(asked, machines, fits):
    assert fits_on(asked, machines) == fits
    assert bool(check_fits_on(asked, machines)) == (fits == 0)


@pytest.mark.parametrize("asked", [request(), request(cpu=3, workers=2), request(gpu=0.4), request(gpu=1, workers=2)])
def test_the_trials_on_one_machine_share_the_workers_that_fit_on_it(asked):
    for cpus, gpus in ((1, 1), (4, 2), (16, 3), (7, 8)):
        assert workers_on(asked, cpus, gpus) // asked.workers == fits_on(asked, [(cpus, gpus)])


def test_a_worker_that_fits_on_no_node_is_reported_with_the_nodes():
    (problem,) = check_fits_on(request(cpu=6), [(4, 0), (4, 1)])
    assert "do not fit on 2 nodes (4 CPUs and 0 GPUs; 4 CPUs and 1 GPU): a worker can't span two nodes" in str(problem)


def test_nodes_that_join_and_leave_are_reported_once_and_checked_seldom():
    clock, lists, calls = [0.0], [(node("1"), node("2"))], []
    checks: list[float] = []

    def look() -> tuple[Node, ...]:
        checks.append(clock[0])
        return lists[-1]

    watch = NodeWatch(lists[0], lambda nodes, text: calls.append((len(nodes), text)), look=look, clock=lambda: clock[0])
    for _ in range(100):
        clock[0] += CHECK_EVERY_S / 10
        watch.tick()
    assert 9 <= len(checks) <= 10 and calls == []
    lists.append((node("1"), node("3")))
    for _ in range(30):
        clock[0] += CHECK_EVERY_S / 10
        watch.tick()
    assert calls == [(2, "node 10.0.0.2 is gone, node 10.0.0.3 has joined")]


def test_paths_of_the_working_directory_move_and_others_stay():
    assert moved("/work/src/a.py", old="/work", new="/tmp/x") == "/tmp/x/src/a.py"
    assert moved("/work", old="/work", new="/tmp/x") == "/tmp/x"
    assert moved("/workshop/a.py", old="/work", new="/tmp/x") == "/workshop/a.py"


@pytest.mark.parametrize(
    ("written", "variable", "used"),
    [
        (None, None, None),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("10.0.0.2:6379", "10.0.0.1:6379", "10.0.0.2:6379"),
        ("local", "10.0.0.1:6379", None),
        (None, "", None),
    ],
)
def test_the_spec_names_the_ray_before_the_environment_does(monkeypatch, written, variable, used):
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    tree = {"metric": {"name": "m", "goal": "minimize"}, "parameters": {"x": 1}, "ray": {"address": written}}
    assert address_of(Sweep.from_dict(tree)) == used


@pytest.mark.parametrize(("ranks_here", "share"), [(2, 4), (4, 2)])
def test_a_rank_gets_its_share_of_the_loaders_of_its_own_machine(monkeypatch, ranks_here, share):
    monkeypatch.setattr("hpsearch.slots.reporter.host_cpus", lambda: 8)
    asked = request(gpu=1)
    settings = SlotSettings(
        sweep="s", trainable=b"", metric="m", request=asked, concurrent=4, precision="fp32", parallel="ddp",
        loaders=None, data={}, sweep_dir="", sys_path=(), working_dir="", environment={}, leak_warnings=True,
    )  # fmt: skip
    assert _loader_workers(settings, ranks_here) == share


def test_a_ray_that_asks_for_a_token_is_not_said_to_be_dead():
    error = ConnectionError("Failed to connect to Ray cluster at head:6379")
    assert _why_not("head:6379", error).startswith("no Ray answers at 'head:6379': Failed to connect")
    error.__cause__ = RuntimeError("Failed to connect to GCS. AuthenticationError: RPC error: InvalidAuthToken")
    assert "export RAY_AUTH_MODE=token" in _why_not("head:6379", error)
