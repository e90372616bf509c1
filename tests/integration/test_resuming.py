"""Resuming on real Ray: more epochs of trials that are done, and a trial that another process trains meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpsearch.ledger.claims import Claims
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.lock import holder_of, writer_lock
from hpsearch.ledger.store import Ledger, now
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import locate
from tests.integration.conftest import TRAINABLES
from tests.support.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
PARAMETERS = {"x": {"values": [0.25, 0.5, 0.75]}}

pytestmark = [pytest.mark.ray]


def test_more_epochs_go_on_from_the_last_one_that_was_kept(sweep):
    first = sweep("keeps", trials=4, limits={"epochs": 3, "checkpoints": 1})
    kept = {row["trial"] for _, row in first.results.trials.iterrows() if isinstance(row["checkpoint"], str)}
    assert len(kept) == 1
    second = sweep("keeps", trials=4, limits={"epochs": 6, "checkpoints": 1})
    assert second.results.trials["epochs_trained"].tolist() == [6] * 4
    began = second.results.history.query("epoch == 6").set_index("trial")["began_at"]
    assert {number for number, epoch in began.items() if epoch == 3} == kept
    assert {number for number, epoch in began.items() if epoch == 0} == {1, 2, 3, 4} - kept
    assert second.results.history.groupby("trial")["epoch"].apply(list).tolist() == [[1, 2, 3, 4, 5, 6]] * 4


def test_a_trial_that_another_process_trains_is_waited_for_without_a_slot(sweep, home: Path):
    with other_process(home) as other:
        outcome = sweep("steady", trials=3, parameters=PARAMETERS, method="grid")
        seen = json.loads(other.communicate(timeout=PATIENCE_S)[0])
    rows = outcome.results.trials.set_index("x")
    assert rows["state"].to_dict() == {0.25: "done", 0.5: "reused", 0.75: "done"}
    assert (rows.loc[0.5, "reused_from"], rows.loc[0.5, "attempts"]) == ("other/1", 0)
    assert outcome.exit_code == 0
    assert seen == {"holder": os.getpid(), "states": ["done", "done", "queued"]}, "both ran at that moment"
    with Ledger(home) as ledger:
        (theirs,) = ledger.trials(ledger.sweep("other"))
        ours = {trial.state: trial for trial in ledger.trials(ledger.sweep("steady"))}
    assert theirs.ended_at is not None and ours["done"].ended_at is not None and ours["reused"].ended_at is not None
    assert theirs.started_at <= ours["done"].started_at, "the other trial began first"
    assert ours["done"].ended_at <= theirs.ended_at <= ours["reused"].ended_at, "and the sweep waited for its end"


@contextmanager
def other_process(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another sweep's process, which has claimed x=0.5 when the block begins."""
    code = "import tests.integration.test_resuming as module; module.train_elsewhere()"
    command = [sys.executable, "-c", code, str(home)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def train_elsewhere() -> None:
    """Hold the lock and the claim of a trial until the sweep of the test can only wait; print what was seen."""
    home = Path(sys.argv[1])
    name = f"{TRAINABLES}:steady"
    metric = {"name": "loss", "goal": "minimize"}
    made = Sweep.from_dict({"name": "other", "trainable": name, "metric": metric, "parameters": PARAMETERS})
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("other", made.to_dict())
        (home / "other").mkdir(exist_ok=True)
        with writer_lock(home / "other", "other"):
            cache = TrialCache(ledger, made, record, code=code_of(locate(name, spec_dir=None)))
            fingerprint = cache.fingerprint({"x": 0.5})
            assert fingerprint is not None
            row = ledger.add_trial(record, 1, point={"x": 0.5}, seed=0, fingerprint=fingerprint)
            assert Claims(ledger).claim(fingerprint, record, 1) is None
            print("ready", flush=True)
            print(json.dumps(until(lambda: waiting_sweep(home), every_s=0.2)), flush=True)
            for epoch in (1, 2, 3):
                ledger.add_report(row, epoch=epoch, metrics={"loss": 0.5}, elapsed_s=1.0)
            ledger.update_trial(row, state="done", epochs_trained=3, best_value=0.5, best_epoch=3, ended_at=now())


def waiting_sweep(home: Path) -> dict[str, object] | None:
    """The process of the test's sweep and the states of its trials, once it waits for the other one; else None."""
    with Ledger(home) as ledger:
        found = ledger.find_sweep("steady")
        states = [] if found is None else sorted(trial.state for trial in ledger.trials(found))
    holder = holder_of(home / "steady")
    return {"holder": holder.pid, "states": states} if holder and states == ["done", "done", "queued"] else None
