"""A note where trials spend much of their time on their set-up."""

from __future__ import annotations

from typing import Any, cast

import pytest

from hpsearch.engine.notes import Notes, SetupCost


class Written(list[str]):
    def add_note(self, sweep: object, text: str) -> None:
        self.append(text)


def noted(*attempts: tuple[float | None, float]) -> list[str]:
    written = Written()
    notes = Notes(cast(Any, written), cast(Any, None))
    cost = SetupCost(notes)
    for setup_s, trained_s in attempts:
        cost.add(setup_s, trained_s)
    assert written == notes.texts
    return written


def test_setup_of_more_than_a_tenth_is_noted_once_with_its_remedies():
    (note,) = noted(*[(3.0, 20.0)] * 6)
    assert note.startswith("set-up takes 3.0 s of 20.0 s a trial")
    assert "shared_data" in note and "isolation: slot" in note


@pytest.mark.parametrize(
    "attempts",
    [[(3.0, 20.0)] * 2, [(1.5, 20.0)] * 5, [(0.2, 0.5)] * 5, [(None, 20.0)] * 5],
    ids=["too few", "less than a tenth", "too short to matter", "one epoch"],
)
def test_otherwise_there_is_no_note(attempts: list[tuple[float | None, float]]):
    assert noted(*attempts) == []
