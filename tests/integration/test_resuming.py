"""Going on with a sweep on real Ray: more epochs, and a trial that another process trains at the same time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from hpsearch.ledger.claims import Claims
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import locate
from tests.integration.conftest import TRAINABLES
from tests.support.waiting import PATIENCE_S, until

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
    x = {"x": {"values": [0.25, 0.5, 0.75]}}
    other = threading.Thread(target=train_elsewhere, args=(home, x, ready := threading.Event()))
    other.start()
    assert ready.wait(PATIENCE_S)
    outcome = sweep("steady", trials=3, parameters=x, method="grid")
    other.join()
    rows = outcome.results.trials.set_index("x")
    assert rows["state"].to_dict() == {0.25: "done", 0.5: "reused", 0.75: "done"}
    assert (rows.loc[0.5, "reused_from"], rows.loc[0.5, "attempts"]) == ("other/1", 0)
    assert outcome.exit_code == 0


def train_elsewhere(home: Path, parameters: dict[str, Any], ready: threading.Event) -> None:
    """Another sweep's process, as far as the ledger can tell: it holds a lock and a claim for some seconds."""
    name = f"{TRAINABLES}:steady"
    metric = {"name": "loss", "goal": "minimize"}
    made = Sweep.from_dict({"name": "other", "trainable": name, "metric": metric, "parameters": parameters})
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("other", made.to_dict())
        (home / "other").mkdir(exist_ok=True)
        with writer_lock(home / "other", "other"):
            memory = TrialCache(ledger, made, record, code=code_of(locate(name, spec_dir=None)))
            fingerprint = memory.fingerprint({"x": 0.5})
            assert fingerprint is not None
            row = ledger.add_trial(record, 1, point={"x": 0.5}, seed=0, fingerprint=fingerprint)
            assert Claims(ledger).claim(fingerprint, record, 1) is None
            ready.set()
            until(lambda: the_others_are_done(home), every_s=0.2)
            for epoch in (1, 2, 3):
                ledger.add_report(row, epoch=epoch, metrics={"loss": 0.5}, elapsed_s=1.0)
            ledger.update_trial(row, state="done", epochs_trained=3, best_value=0.5, best_epoch=3)


def the_others_are_done(home: Path) -> bool:
    with Ledger(home) as ledger:
        found = ledger.find_sweep("steady")
        states = [] if found is None else [trial.state for trial in ledger.trials(found)]
    return states.count("done") == 2 and "queued" in states
