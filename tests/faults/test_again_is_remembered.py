"""`sweep --again`, killed and resumed: no trial of it is ever answered from another sweep.

The driver runs as it is, with its ledger and files, in processes that are really killed; slots are simulated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hpsearch.driver.table_copies import copy_of_tables
from hpsearch.ledger.rebuild import rebuild
from hpsearch.ledger.store import Ledger
from tests.support.simulated import FINE, KILLED, Scenario, live

SCENARIO = Scenario(trials=6, epochs=4)
AGAIN = replace(SCENARIO, again=True)
KILLED_AT = 40
"""The fail point in the middle of the sweep."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sweep `first` has trained everything; `victim`, which began with --again, was killed."""
    assert live(tmp_path, SCENARIO, name="first")[0] == FINE
    assert live(tmp_path, AGAIN, dies_at=KILLED_AT)[0] == KILLED
    return tmp_path


def trials(folder: Path) -> dict[int, tuple[str, str | None]]:
    """Trial's number to its state and where it was reused from."""
    with Ledger(folder / "sweeps") as ledger:
        return {each.number: (each.state, each.reused_from) for each in ledger.trials(ledger.sweep("victim"))}


def finish(folder: Path, scenario: Scenario = SCENARIO, *, resumes: bool = False) -> None:
    assert live(folder, scenario, resumes=resumes)[0] == FINE, (folder / "broken.txt").read_text()


@pytest.mark.parametrize("resumes", [True, False], ids=["resume", "the same sweep without --again"])
def test_a_killed_sweep_that_began_with_again_still_trains_everything(folder: Path, resumes):
    before = {number for number, (state, _) in trials(folder).items() if state == "done"}
    trained = (folder / "diary.txt").read_text()
    assert 0 < len(before) < 6, "it was killed too early or too late to show anything"
    finish(folder, resumes=resumes)
    assert trials(folder) == dict.fromkeys(range(1, 7), ("done", None))
    later = (folder / "diary.txt").read_text().removeprefix(trained)
    assert not before & {int(line.split()[0]) for line in later.splitlines()}, "what was finished stays finished"


def test_a_rebuilt_ledger_remembers_it(folder: Path):
    (folder / "sweeps" / "ledger.db").unlink()
    rebuild(folder / "sweeps", read_tables=copy_of_tables)
    finish(folder, resumes=True)
    assert trials(folder) == dict.fromkeys(range(1, 7), ("done", None))


def test_no_again_reuses_the_rest_from_here_on(folder: Path):
    done = sum(state == "done" for state, _ in trials(folder).values())
    assert live(folder, replace(SCENARIO, again=False, trials=6))[0] == FINE
    states = Counter(state for state, _ in trials(folder).values())
    assert states["done"] >= done and states["reused"] > 0 and states.total() == 6
    finish(folder, replace(SCENARIO, trials=7), resumes=False)
    with Ledger(folder / "sweeps") as ledger:
        assert ledger.sweep("victim").again is False


def test_a_known_sweep_takes_up_again_when_it_is_asked_to(tmp_path: Path):
    assert live(tmp_path, SCENARIO, name="first")[0] == FINE
    assert live(tmp_path, replace(SCENARIO, trials=2))[0] == FINE
    finish(tmp_path, replace(AGAIN, trials=4))
    finish(tmp_path, SCENARIO)
    assert trials(tmp_path) == {
        1: ("reused", "first/1"),
        2: ("reused", "first/2"),
        **dict.fromkeys(range(3, 7), ("done", None)),
    }
