"""Claims: of all sweeps that want to train a fingerprint, one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsearch.ledger.claims import Claims
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.spec.sweep import Sweep

SPEC: dict[str, Any] = {
    "trainable": "train.py:train",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": 1},
    "limits": {"trials": 1, "epochs": 2},
}


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger(home, create=True) as made:
        yield made


@pytest.fixture
def sweeps(ledger: Ledger) -> list[SweepRecord]:
    """Two sweeps."""
    return [ledger.add_sweep(name, SPEC) for name in ("a", "b")]


def test_one_of_two_sweeps_gets_a_claim_and_the_other_learns_who_has_it(ledger: Ledger, sweeps: list[SweepRecord]):
    claims, (a, b) = Claims(ledger), sweeps
    assert claims.claim("f", a, 1) is None
    holder = claims.claim("f", b, 7)
    assert holder is not None and (holder.name, holder.number) == ("a", 1)
    assert claims.holder("f") == holder, "and it is still theirs"
    assert claims.claim("f", a, 2) is None, "of its own sweep a later trial may have it"
    assert claims.claim("g", b, 7) is None, "and another fingerprint is another claim"


@pytest.mark.parametrize("state", ["done", "stopped", "failed", "paused", "interrupted"])
def test_the_claim_of_a_trial_that_leaves_its_slot_is_free(ledger: Ledger, sweeps: list[SweepRecord], state: Any):
    claims, (a, b) = Claims(ledger), sweeps
    rows = [ledger.add_trial(a, number, point={"x": number}, seed=0) for number in (1, 2)]
    assert claims.claim("f", a, 1) is None and claims.claim("g", a, 2) is None
    ledger.update_trial(rows[0], state="queued")
    assert claims.claim("f", b, 1) is not None, "it will be tried again"
    ledger.update_trial(rows[0], state=state)
    assert claims.claim("f", b, 1) is None
    assert claims.claim("g", b, 1) is not None, "that of the other trial is not"


def test_a_sweep_that_ends_leaves_no_claim(ledger: Ledger, sweeps: list[SweepRecord]):
    claims, (a, b) = Claims(ledger), sweeps
    assert claims.claim("f", a, 1) is None
    ledger.end_sweep(a, "interrupted")
    assert claims.holder("f") is None and claims.claim("f", b, 1) is None


def test_a_claim_counts_only_as_long_as_a_process_holds_the_lock_of_its_sweep(
    ledger: Ledger, sweeps: list[SweepRecord]
):
    a, b = (TrialCache(ledger, Sweep.from_dict(SPEC), record, code={"train.py": "1"}) for record in sweeps)
    (ledger.home / "a").mkdir(exist_ok=True)
    with writer_lock(ledger.home / "a", "a"):
        assert a.claim("f", 1) is None
        assert b.claim("f", 1) == "a/1" and b.is_busy("f") and not a.is_busy("f")
    assert not b.is_busy("f")
    assert b.claim("f", 1) is None, "its process is dead"
    holder = Claims(ledger).holder("f")
    assert holder is not None and holder.name == "b"
