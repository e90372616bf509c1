"""Every verb that reads a sweep, on 64 trials: what it imports, and how much work it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.curves import run

ROOT = Path(__file__).parents[1]
PLAIN = ["list", "show", "best", "show --trial 1", "show --epoch 1", "show --failures", "compare finished running"]
"""Verbs that need neither pandas nor numpy."""
WRITERS = [
    "export --to csv -o {out}/t.csv",
    "export --to parquet -o {out}/t.parquet",
    "export --to json -o {out}/t.json",
    "export --to optuna -o {out}/t.db",
    "export --to tensorboard -o {out}/t",
    "compare finished running -o {out}/t.svg",
    "report -o {out}/t.html",
    "report --static -o {out}/t.html",
    "logs 1",
]
PRINTED, WRITTEN, REPORT = 1_000_000, 4_000_000, 10_000_000
"""Calls of functions that a verb may take, those of its imports included: a million are about a second. What it really
takes on a machine is in `python -m benchmarks.reading`."""
RUN = """
import json, sys
from tests.support.calls import calls_of

def run():
    from hpsearch.cli import app
    app(sys.argv[1:], standalone_mode=False)

calls = calls_of(run)
loaded = sorted({"ray", "torch", "pandas", "numpy"} & set(sys.modules))
print(json.dumps({"calls": calls, "loaded": loaded}), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a finished sweep of 64 trials, and one that was left while its trials ran."""
    folder = tmp_path_factory.mktemp("reading")
    run(folder, name="finished")
    left = {"trials": 200, "epochs": 27, "concurrent": 8}
    run(folder, name="running", seed=1, max_reports=110, limits=left, early_terminate={"type": "asha_stop"})
    return folder


def used_by(verb: str, home: Path, out: Path) -> tuple[int, set[str]]:
    """Calls of functions, and which of the heavy packages were loaded."""
    words = [word.format(out=out) for word in verb.split()]
    command = [sys.executable, "-c", RUN, *words, "--home", str(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout, "it says something"
    used = json.loads(done.stderr.splitlines()[-1])
    return used["calls"], set(used["loaded"])


@pytest.mark.parametrize("verb", [*PLAIN, "show finished", "best finished", "show finished --failures"])
def test_a_verb_that_prints_is_little_work_and_loads_nothing_heavy(home: Path, tmp_path: Path, verb: str):
    calls, loaded = used_by(verb, home, tmp_path)
    assert loaded == set() and calls < PRINTED


@pytest.mark.slow
@pytest.mark.parametrize("verb", WRITERS)
def test_a_verb_that_writes_a_file_is_some_work_and_loads_neither_ray_nor_torch(home: Path, tmp_path: Path, verb: str):
    calls, loaded = used_by(verb, home, tmp_path)
    assert loaded <= {"pandas", "numpy"}
    assert calls < (REPORT if verb.startswith("report") else WRITTEN)
