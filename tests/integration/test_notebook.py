"""`hpsearch.run` in a real Jupyter kernel: what a user sees below their cells."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from hpsearch.api.results import Results
from hpsearch.errors import HpsearchError
from tests.support.waiting import PATIENCE_S, until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Jupyter's own packages
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DOCS = Path(__file__).parents[2] / "docs"
PATIENCE: dict[str, Any] = {"timeout": PATIENCE_S, "startup_timeout": PATIENCE_S, "iopub_timeout": PATIENCE_S}
"""For a cell, for the kernel, and for what it still has to say when a cell is over: 4 s by itself."""
RAY_RUNS = "import sys; 'ray' in sys.modules and sys.modules['ray'].is_initialized()"
TREE = (
    '{"metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"values": [1, 2, 3]}},'
    ' "resources": {"gpu": 0}}'
)


class Kernel:
    """A kernel that runs cells one after another."""

    def __init__(self, folder: Path) -> None:
        self.notebook = nbformat.v4.new_notebook()
        self.client = NotebookClient(
            self.notebook, **PATIENCE, allow_errors=True, resources={"metadata": {"path": str(folder)}}
        )

    def run(self, source: str) -> Any:
        """Run a cell; what stands below it."""
        self.notebook.cells.append(nbformat.v4.new_code_cell(source))
        self.client.execute_cell(self.notebook.cells[-1], len(self.notebook.cells) - 1)
        return self.notebook.cells[-1]["outputs"]

    def value(self, source: str) -> str:
        """What an expression is, as text."""
        outputs = self.run(source)
        assert [output["output_type"] for output in outputs] == ["execute_result"], outputs
        return str(outputs[0]["data"]["text/plain"])

    def interrupt_when(self, condition: Any) -> threading.Thread:
        """Press the stop button of the kernel as soon as the condition holds: its whole process group is signalled."""

        def wait() -> None:
            until(condition)
            os.killpg(os.getpgid(self.client.km.provisioner.pid), signal.SIGINT)  # type: ignore[union-attr]

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = Kernel(tmp_path_factory.mktemp("notebook"))
    with made.client.setup_kernel():
        yield made


def folder(kernel: Kernel) -> Path:
    return Path(kernel.client.resources["metadata"]["path"])


def has_epochs(home: Path, name: str) -> bool:
    try:
        return bool(len(Results(home, name).history))
    except HpsearchError:
        return False


CELL = f"""
import hpsearch
SCALE = 1
def train(config):
    print("a line of the trial")
    for epoch in range(2):
        yield {{"loss": SCALE * config["x"] / (epoch + 1)}}
results = hpsearch.run({TREE}, train)
"""


def test_a_function_of_a_cell_runs_with_one_display_that_is_updated_and_nothing_else(kernel):
    outputs = kernel.run(CELL)
    assert [output["output_type"] for output in outputs] == ["display_data"], outputs
    assert "train: 3/3 trials (3 done) | 0 running | best loss 0.5" in outputs[0]["data"]["text/plain"]
    assert "<td>done</td>" in outputs[0]["data"]["text/html"]
    assert kernel.value("results.trials['state'].tolist()") == "['done', 'done', 'done']"
    assert kernel.value(RAY_RUNS) == "False", "a Ray of our own ends with the sweep"


def test_the_same_cell_again_comes_back_at_once_with_the_same_trials(kernel):
    assert kernel.run(CELL) == []
    assert kernel.value("results.name, len(results.trials)") == "('train', 3)"


def test_a_ray_that_runs_is_used_and_left_and_an_edited_cell_is_another_sweep(kernel):
    own_ray = 'import ray; info = ray.init("local", num_cpus=2, include_dashboard=False)'
    assert kernel.run(own_ray) == [], "not the Ray of another test, which a call without an address would find"
    outputs = kernel.run(CELL.replace("SCALE = 1", "SCALE = 2"))
    assert [output["output_type"] for output in outputs] == ["display_data"], outputs
    assert kernel.value("results.name, results.best.value") == "('train-2', 1.0)"
    assert kernel.value(RAY_RUNS) == "True"
    assert kernel.run(CELL) == [], "the cell as it was before finds its own sweep"
    assert kernel.value("results.name") == "'train'"


def test_a_spec_by_its_path_runs_with_a_function_of_a_cell(kernel):
    (folder(kernel) / "small.yaml").write_text(f"{TREE[:-1]}, 'limits': {{trials: 2}}}}")
    assert kernel.run("by_path = hpsearch.run('small.yaml', train)") == [], "the ledger knows it all"
    assert kernel.value("by_path.name, set(by_path.trials['state'])") == "('small', {'reused'})"


def test_a_kernel_interrupt_returns_the_results_so_far(kernel):
    home = folder(kernel) / "sweeps"
    was_there = kernel.value(RAY_RUNS)
    stop = kernel.interrupt_when(lambda: has_epochs(home, "slow"))
    outputs = kernel.run(
        f"""
import hpsearch
import time
def slow(config):
    for epoch in range(100_000):
        time.sleep(0.05)
        yield {{"loss": config["x"] / (epoch + 1)}}
so_far = hpsearch.run({TREE}, slow)
"""
    )
    stop.join()
    assert [output["output_type"] for output in outputs] == ["display_data"], outputs
    assert kernel.value("so_far.sweep.state, bool(len(so_far.history))") == "('interrupted', True)"
    assert kernel.value(RAY_RUNS) == was_there
    assert kernel.run("still = 'usable'") == []


@pytest.mark.timeout(900)
def test_the_tour_runs_from_its_first_cell_to_its_last(tmp_path):
    run_tour = runpy.run_path(str(DOCS / "tour.py"))["run"]
    notebook = nbformat.read(DOCS / "tour.ipynb", as_version=4)
    run_tour(notebook, tmp_path)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert {output["output_type"] for output in shown} == {"display_data", "execute_result"}, "no warnings, no errors"
    texts = [output["data"]["text/plain"] for output in shown]
    assert sum("image/png" in output["data"] for output in shown) == 3
    assert any(
        text.startswith("    parameter  importance") and text.splitlines()[1].split()[1] == "lr" for text in texts
    )
    assert "50" in texts[-2] and "<Results train: done" in texts[-1]
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_the_tour_stands_in_the_guide_as_it_ran():
    notebook = nbformat.read(DOCS / "tour.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells), "run: python docs/tour.py"
    assert (DOCS / "tour.ipynb").stat().st_size < 500_000


def test_a_home_that_is_removed_ends_the_cell_with_one_error_and_the_display_in_its_last_state(kernel):
    home = folder(kernel) / "removed"
    was_there = kernel.value(RAY_RUNS)

    def remove() -> None:
        until(lambda: has_epochs(home, "endless"))
        shutil.rmtree(home)

    thread = threading.Thread(target=remove)
    thread.start()
    display, error = kernel.run(
        f"""
import hpsearch, time
def endless(config):
    while True:
        time.sleep(0.1)
        yield {{"loss": config["x"]}}
hpsearch.run({TREE}, endless, home={str(home)!r})
"""
    )
    thread.join()
    assert (display["output_type"], error["ename"]) == ("display_data", "LedgerError"), error
    assert error["evalue"].startswith(f"{home}: was removed or moved while the sweep ran, so the sweep was ended.")
    assert "No trial begins: the sweep ends: LedgerError: " in display["data"]["text/plain"]
    assert kernel.value(RAY_RUNS) == was_there
