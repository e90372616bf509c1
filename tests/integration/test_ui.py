"""`hpsearch ui`: optuna-dashboard as a browser and its HTTP interface see it, on sweeps made of formulas."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from typer.testing import CliRunner

from hpsearch.cli import app
from hpsearch.errors import HpsearchError
from hpsearch.ledger.store import Ledger
from hpsearch.results.export.optuna_dashboard import LOOK_S, SweepApp, serving
from tests.support import curves
from tests.support.browser import new_context
from tests.support.waiting import PATIENCE_S

METHODS: list[dict[str, Any]] = [
    {"method": "grid", "parameters": {"lr": {"values": [0.01, 0.1]}, "width": {"values": [16, 64]}, "optimizer": "sgd",
                                      "batch_size": 64}},
    {"method": "hyperopt"},
    {"method": "controller", "parameters": {**curves.SPEC["parameters"], "lr": {"values": [0.01, 0.1, 1.0]},
                                            "momentum": 0.9}},
]  # fmt: skip


@pytest.fixture
def served(home: Path) -> Iterator[Callable[..., str]]:
    """Serve a sweep of this process: `served(name)` is the address of its page."""
    with ExitStack() as stack:

        def serve(name: str | None = None) -> str:
            server, address = stack.enter_context(serving(home, name, port=0))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return address

        yield serve


def get(address: str, path: str, **keys: Any) -> Any:
    request = urllib.request.Request(address.partition("/dashboard")[0] + path, **keys)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def test_all_trials_of_a_sweep_with_their_states_and_curves(home, served):
    address = served(curves.run(home))
    [study] = get(address, "/api/studies")["study_summaries"]
    assert (study["study_id"], study["study_name"]) == (0, "curves")
    trials = get(address, "/api/studies/0")["trials"]
    with Ledger(home) as ledger:
        record = ledger.sweep("curves")
        own = ledger.trials(record)
    words = {"done": "Complete", "stopped": "Pruned", "failed": "Fail"}
    assert [trial["state"] for trial in trials] == [words[trial.state] for trial in own]
    assert [len(trial["intermediate_values"]) for trial in trials] == [trial.epochs_trained for trial in own]
    best = min((trial for trial in own if trial.state == "done"), key=lambda trial: trial.best_value or 0.0)
    assert get(address, "/api/studies/0")["best_trials"][0]["values"] == [best.best_value]


def test_importances_are_those_at_a_common_epoch_over_stopped_trials_too(home, served):
    address = served(curves.run(home))
    [found] = get(address, "/api/studies/0/param_importances")["param_importances"]
    assert [each["name"] for each in found][:2] == ["lr", "width"]
    assert found[0]["distribution"] == "FloatDistribution"
    said = {each["key"]: each["value"] for each in get(address, "/api/studies/0")["user_attrs"]}
    assert "PED-ANOVA at epoch" in said["importance"]


def test_a_sweep_of_one_trial_has_no_importances(home, served):
    address = served(curves.run(home, limits={"trials": 1, "epochs": 1}))
    assert get(address, "/api/studies/0/param_importances") == {"param_importances": [[]]}


@pytest.mark.parametrize("keys", METHODS, ids=lambda keys: keys["method"])
def test_any_method_is_shown(home, served, keys):
    limits = {"trials": 4, "epochs": 3}
    address = served(curves.run(home, limits=limits, early_terminate={"type": "none"}, **keys))
    assert len(get(address, "/api/studies/0")["trials"]) == 4


def test_a_sweep_that_goes_on_is_seen_to_go_on(home):
    now = [0.0]
    curves.run(home, name="early", limits={"trials": 2, "epochs": 1})
    shown = SweepApp(home, "early", clock=lambda: now[0])
    assert num_trials(shown) == 2
    with Ledger(home) as ledger:
        record = ledger.sweep("early")
        row = ledger.add_trial(
            record, 3, point=ledger.trials(record)[0].point, seed=0, fingerprint=None, code_hash=None
        )
        ledger.add_report(row, epoch=1, metrics={"val_loss": 0.5}, elapsed_s=1.0)
    assert num_trials(shown) == 2
    now[0] = LOOK_S
    assert num_trials(shown) == 3


def num_trials(shown: SweepApp) -> int:
    environ: dict[str, Any] = {"PATH_INFO": "/api/studies/0"}
    setup_testing_defaults(environ)
    return len(json.loads(b"".join(shown(environ, lambda *status: None)))["trials"])


def test_nothing_can_be_changed(home, served):
    address = served(curves.run(home, limits={"trials": 2, "epochs": 1}))
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(address, "/api/studies/0", method="DELETE")
    refused.value.close()
    assert refused.value.code == 403
    assert len(get(address, "/api/studies/0")["trials"]) == 2


def test_only_this_machine_is_served(home):
    curves.run(home, limits={"trials": 2, "epochs": 1})
    with serving(home, None, port=0) as (server, _):
        assert server.server_address[0] == "127.0.0.1"


def test_a_ledger_that_is_gone_meanwhile_is_said(home):
    now = [0.0]
    curves.run(home, limits={"trials": 2, "epochs": 1})
    shown = SweepApp(home, None, clock=lambda: now[0])
    (home / "ledger.db").write_bytes(b"not a database" * 999)
    now[0] = LOOK_S
    told: list[Any] = []
    answer = shown({"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/0"}, lambda *status: told.append(status[0]))
    assert told == ["503 Service Unavailable"]
    assert b"ledger.db" in b"".join(answer)


def test_a_port_that_is_taken_is_said_with_what_to_do(home):
    curves.run(home, limits={"trials": 2, "epochs": 1})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HpsearchError, match=rf"port {port} can't be used: Address already in use\. Write --port 0"):
            serving(home, None, port=port).__enter__()


def test_without_the_extra_the_command_that_installs_it_is_said(home, monkeypatch):
    curves.run(home, limits={"trials": 2, "epochs": 1})
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(HpsearchError, match=r"not installed\. Run: pip install optuna-dashboard"):
        SweepApp(home, None)
    assert CliRunner().invoke(app, ["ui", "--home", str(home), "--port", "0"]).exit_code == 1


def test_ctrl_c_ends_the_verb_in_good_order_and_it_has_loaded_neither_ray_nor_torch(home):
    curves.run(home, limits={"trials": 2, "epochs": 1})
    code = "import sys, atexit; atexit.register(lambda: print(sorted({'ray', 'torch'} & set(sys.modules))))\n"
    code += "from hpsearch.cli import main; sys.argv[0] = 'hpsearch'; main()"
    command = [sys.executable, "-c", code, "ui", "--port", "0", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.search(r"http://\S+", said)
        assert address, said
        assert len(get(address[0], "/api/studies")["study_summaries"]) == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "[]\n", "")


@pytest.mark.browser
def test_the_page_draws_the_trials(home, served, browser: Any):
    address = served(curves.run(home))
    errors: list[str] = []
    with new_context(browser) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_text("Best Trial").first.wait_for()
        page.locator(".plotly .main-svg").first.wait_for()
        page.get_by_text("curves").first.wait_for()
        assert errors == []
        page.screenshot(path=str(home / "ui.png"))
