"""A rank between two trials, in a process of its own: what one trial leaves is not there for the next. No Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RANK = """
import os, sys
from pathlib import Path

import cloudpickle
import psutil

from hpsearch.slots.events import Assignment
from hpsearch.slots.rank import Rank
from tests.unit.slots.settings import settings_of
from tests.waiting import until


def train(config):
    os.system("true &")  # the shell ends, and its child with it: nobody waits for that
    until(lambda: psutil.STATUS_ZOMBIE in [child.status() for child in psutil.Process().children()])
    yield {"loss": 1.0}


folder = Path(sys.argv[1])
rank = Rank(settings_of(trainable=cloudpickle.dumps(train), trials_dir=str(folder), working_dir=str(folder)), 0, slot=1)
assert rank.load() is None
reply = rank.step(Assignment(number=1, attempt=1, config={}, seed=0, max_epochs=1), save=False)
assert reply.metrics == {"loss": 1.0}, reply
assert rank.finish().fit
(folder / "children").write_text(repr(psutil.Process().children()))
"""


def test_a_trials_orphans_that_have_ended_are_gone_with_it(tmp_path: Path):
    subprocess.run([sys.executable, "-c", RANK, str(tmp_path)], check=True, cwd=Path(__file__).parents[3])
    assert (tmp_path / "children").read_text() == "[]"
