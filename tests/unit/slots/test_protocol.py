"""What the driver and a slot send each other."""

from __future__ import annotations

from pathlib import Path

from hpsearch.ledger.store import Ledger
from hpsearch.slots.protocol import Assignment, Failed, Unusable

HALF = b"caf\xe9.png".decode(errors="surrogateescape")
"""A file name that is no valid UTF-8, as Python represents it."""


def test_an_assignment_is_the_same_after_its_way_through_json():
    assignment = Assignment(
        number=7,
        attempt=2,
        config={"lr": 1e-4, "layers": [1, 2], "on": True, "name": "ä"},
        seed=3,
        max_epochs=None,
        save_epochs=(1, 3),
        time_left_s=1.5,
    )
    assert Assignment.from_json(assignment.to_json()) == assignment


def test_a_failure_with_text_that_is_no_unicode_can_be_stored(home: Path):
    failure = Failed(cause="user_error", evidence=f"ValueError: {HALF}", place=f"ValueError at {HALF}.py:1")
    with Ledger(home, create=True) as ledger:
        sweep = ledger.add_sweep("sweep", {"metric": {"name": "loss", "goal": "minimize"}})
        trial = ledger.add_trial(sweep, 1, point={}, seed=0)
        ledger.update_trial(trial, state="failed", cause=failure.cause, evidence=failure.evidence)
        assert ledger.trials(sweep)[0].evidence == "ValueError: caf\\udce9.png"
    assert failure.place == "ValueError at caf\\udce9.png.py:1"
    assert Unusable(evidence=HALF).evidence == "caf\\udce9.png"
