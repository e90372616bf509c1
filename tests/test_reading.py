"""Every verb that reads a sweep, on 64 trials: what it imports, and how much CPU it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.curves import run

PLAIN = ["list", "show", "best", "show --trial 1", "show --epoch 1", "show --failures", "compare finished running"]
"""Verbs that need no pandas either."""
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
PRINTED_S, WRITTEN_S, REPORT_S = 1.5, 4.0, 8.0
"""CPU seconds that a verb may take, its interpreter included; wall time says little on a busy machine."""
RUN = """
import json, resource, sys
from hpsearch.cli import app
app(sys.argv[1:], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
loaded = sorted({"ray", "torch", "pandas"} & set(sys.modules))
print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "loaded": loaded}), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a finished sweep of 64 trials, and one that was left while its trials ran."""
    folder = tmp_path_factory.mktemp("reading")
    run(folder, name="finished")
    left = {"trials": 200, "epochs": 27, "concurrent": 8}
    run(folder, name="running", seed=1, max_reports=110, limits=left, early_terminate={"type": "asha_stop"})
    return folder


def used_by(verb: str, home: Path, out: Path) -> tuple[float, set[str]]:
    """CPU seconds, and which of the heavy packages were loaded."""
    words = [word.format(out=out) for word in verb.split()]
    command = [sys.executable, "-c", RUN, *words, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout, "it says something"
    used = json.loads(done.stderr.splitlines()[-1])
    return used["cpu_s"], set(used["loaded"])


@pytest.mark.parametrize("verb", PLAIN)
def test_a_verb_that_prints_a_running_sweep_is_fast_and_loads_nothing_heavy(home: Path, tmp_path: Path, verb: str):
    cpu_s, loaded = used_by(verb, home, tmp_path)
    assert loaded == set() and cpu_s < PRINTED_S


@pytest.mark.parametrize("verb", ["show finished", "best finished", "show finished --failures"])
def test_a_finished_sweep_is_printed_as_fast(home: Path, tmp_path: Path, verb: str):
    cpu_s, loaded = used_by(verb, home, tmp_path)
    assert loaded == set() and cpu_s < PRINTED_S


@pytest.mark.slow
@pytest.mark.parametrize("verb", WRITERS)
def test_a_verb_that_writes_a_file_is_fast_and_loads_neither_ray_nor_torch(home: Path, tmp_path: Path, verb: str):
    cpu_s, loaded = used_by(verb, home, tmp_path)
    assert loaded <= {"pandas"}
    assert cpu_s < (REPORT_S if verb.startswith("report") else WRITTEN_S)
