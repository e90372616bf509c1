"""Which code a trial ran under: its column, and when it may not be reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.ledger.fingerprint import code_hash
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.records import TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Failed, Report
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

OLD, NEW = {"train.py": "1"}, {"train.py": "2"}
A, B = code_hash(OLD)[:12], code_hash(NEW)[:12]
TREE: dict[str, Any] = {
    "metric": {"name": "loss", "goal": "minimize"},
    "method": "grid",
    "parameters": {"x": {"values": [1, 2, 3]}},
    "limits": {"trials": 3, "epochs": 3},
}
HASHES = ["1" * 64, "2" * 64]


@pytest.fixture
def ledger(home: Path):
    with Ledger(home, create=True) as ledger:
        yield ledger


def engine_of(ledger: Ledger, name: str = "one", *, code: Any = OLD, **changes: Any) -> Engine:
    """The engine of a new sweep, or of a known one that is resumed."""
    sweep = Sweep.from_dict({**TREE, "name": name, **changes})
    known = ledger.find_sweep(name)
    record = known or ledger.add_sweep(name, sweep.to_dict(), code=code)
    parts = EngineParts(
        sweep=sweep,
        searcher=make_searcher(sweep),
        rule=make_stopping_rule(sweep, can_pause=True),
        ledger=ledger,
        record=record,
        cache=TrialCache(ledger, sweep, record, code=code),
    )
    if known is None:
        engine = Engine.new(parts)
    else:
        engine = Engine.resumed(parts, Past.read(ledger, known))
        ledger.reopen_sweep(record, sweep.to_dict(), code=code)
    return engine


def begin(engine: Engine) -> Assignment:
    assignment = engine.next_assignment()
    assert isinstance(assignment, Assignment)
    return assignment


def report(engine: Engine, number: int, epoch: int, **outside: str) -> None:
    files = {f"/project/{name}.py": digest for name, digest in outside.items()}
    event = Report(epoch=epoch, metrics={"loss": 1.0}, elapsed_s=1.0, outside_code=files)
    engine.on_event(number, event)


def interrupt(engine: Engine) -> None:
    engine.stop("interrupted", "a signal")
    engine.finish()


def trial(ledger: Ledger, number: int = 1, name: str = "one") -> TrialRecord:
    return ledger.trials(ledger.sweep(name))[number - 1]


def test_a_trial_has_the_code_that_it_ran_under(ledger):
    engine = engine_of(ledger)
    begin(engine)
    assert (trial(ledger).code, trial(ledger).code_hash) == (A, code_hash(OLD))


def test_a_trial_of_code_that_cannot_be_known_has_none(ledger):
    begin(engine_of(ledger, code=None))
    assert trial(ledger).code is None


def test_a_trial_that_continues_under_other_code_has_both_and_is_not_reused(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    assert trial(ledger).fingerprint is not None
    engine = engine_of(ledger, code=NEW)
    assert trial(ledger).code == A, "nothing has run yet"
    assert begin(engine).number == 1
    assert (trial(ledger).code, trial(ledger).fingerprint) == (f"{A}, {B}", None)
    report(engine, 1, 2)
    interrupt(engine)
    engine = engine_of(ledger, code=OLD)
    assert begin(engine).number == 1
    assert (trial(ledger).code, trial(ledger).fingerprint) == (f"{A}, {B}", None), "also under the first code again"


def test_a_trial_that_had_trained_nothing_is_one_of_the_new_code(ledger):
    engine = engine_of(ledger)
    begin(engine)
    before = trial(ledger).fingerprint
    interrupt(engine)
    begin(engine_of(ledger, code=NEW))
    assert trial(ledger).code == B and trial(ledger).fingerprint not in (None, before)


def test_a_trial_without_a_fingerprint_has_both_codes_too(ledger):
    unknown = {"value": "can't be compared"}
    engine = engine_of(ledger, code={**OLD, **unknown})
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    begin(engine_of(ledger, code={**NEW, **unknown}))
    assert trial(ledger).code == f"{code_hash({**OLD, **unknown})[:12]}, {code_hash({**NEW, **unknown})[:12]}"


def test_a_trial_whose_later_code_cannot_be_known_says_so(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    begin(engine_of(ledger, code=None))
    assert (trial(ledger).code, trial(ledger).fingerprint) == (f"{A}, unknown", None)
    interrupt(engine)


def test_a_trial_whose_first_code_could_not_be_known_says_so(ledger):
    engine = engine_of(ledger, code=None)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    begin(engine_of(ledger))
    assert (trial(ledger).code, trial(ledger).fingerprint) == (f"unknown, {A}", None)


def test_a_trial_of_a_ledger_that_knew_no_code_keeps_its_fingerprint_under_the_same(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    ledger.update_trial(trial(ledger).id, code=None, code_hash=None)
    begin(engine_of(ledger))
    assert trial(ledger).code is None and trial(ledger).fingerprint is not None


def test_a_trial_of_an_older_ledger_is_compared_with_the_code_that_it_began_with(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    ledger.update_trial(trial(ledger).id, code=None)
    begin(engine_of(ledger, code=NEW))
    assert trial(ledger).code == f"{A}, {B}"


def test_reused_epochs_add_no_code(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    other = engine_of(ledger, "other", parameters={"x": {"values": [1]}}, limits={"trials": 1, "epochs": 3})
    begin(other)
    for epoch in (2, 3):
        report(other, 1, epoch)
    other.finish()
    engine = engine_of(ledger, code=NEW)
    assert begin(engine).number == 2
    assert (trial(ledger).state, trial(ledger).code) == ("done", A)


def test_a_rebuilt_ledger_has_the_codes(ledger, home):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    interrupt(engine)
    begin(engine_of(ledger, code=NEW))
    before = trial(ledger)
    ledger.close()
    rebuild(home, read_tables=copy_of_tables)
    with Ledger(home) as again:
        assert (trial(again).code, trial(again).fingerprint) == (before.code, None)


# -- files that are not in the snapshot --------------------------------------------------------------------------------


def test_a_trial_that_imported_other_files_has_no_fingerprint(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    assert trial(ledger).fingerprint is not None
    report(engine, 1, 2, plugin=HASHES[0])
    assert trial(ledger).fingerprint is None
    report(engine, 1, 3, plugin=HASHES[0])
    begin(engine)
    report(engine, 2, 1)
    assert trial(ledger, 2).fingerprint is not None


def test_files_that_come_with_the_end_count_too(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1)
    engine.on_event(1, Ended(elapsed_s=1.0, outside_code={"/project/plugin.py": HASHES[0]}))
    assert (trial(ledger).state, trial(ledger).fingerprint) == ("done", None)


def test_a_trial_that_imported_other_files_is_trained_again_in_another_sweep(ledger):
    engine = engine_of(ledger)
    begin(engine)
    for epoch in (1, 2, 3):
        report(engine, 1, epoch, plugin=HASHES[0])
    interrupt(engine)
    other = engine_of(ledger, "other", parameters={"x": {"values": [1]}}, limits={"trials": 1, "epochs": 3})
    assert begin(other).known_epochs == 0


def test_each_file_is_named_once_in_the_sweeps_notes(ledger):
    engine = engine_of(ledger)
    for number in (1, 2):
        begin(engine)
        for epoch in (1, 2, 3):
            report(engine, number, epoch, plugin=HASHES[0], other=HASHES[1])
    reason = ledger.sweep("one").reason
    engine.finish()
    assert ledger.sweep("one").reason == reason, "said at once, and still at the end"
    assert reason == (
        "trial 1 imported what is not in the sweep's copy of the code (/project/plugin.py, /project/other.py):"
        " trials that import it are not reused"
    )


def test_a_file_that_has_changed_for_a_later_trial_is_named(ledger):
    engine = engine_of(ledger)
    for number in (1, 2):
        begin(engine)
        for epoch in (1, 2, 3):
            report(engine, number, epoch, plugin=HASHES[number - 1])
    engine.finish()
    reason = ledger.sweep("one").reason or ""
    changed = "/project/plugin.py changed while the sweep ran: trial 2 imported another version of it than trial 1"
    assert reason.endswith(f"; {changed}")


def test_a_failed_trial_and_a_file_below_the_working_directory(ledger, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = engine_of(ledger)
    begin(engine)
    event = Report(
        epoch=1, metrics={"loss": 1.0}, elapsed_s=1.0, outside_code={str(tmp_path / "lib" / "a.py"): HASHES[0]}
    )
    engine.on_event(1, event)
    engine.on_event(1, Failed(cause="user_error", evidence="ValueError: x", place="ValueError at a.py:1"))
    assert "(lib/a.py)" in (ledger.sweep("one").reason or "")
    assert trial(ledger).fingerprint is None


def test_many_files_make_one_short_note(ledger):
    engine = engine_of(ledger)
    begin(engine)
    report(engine, 1, 1, **{f"plugin_{number}": HASHES[0] for number in range(100)})
    reason = ledger.sweep("one").reason or ""
    assert "and 95 more" in reason and len(reason) < 400
