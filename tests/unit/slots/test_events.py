"""What passes between driver and slot."""

from __future__ import annotations

from hpsearch.slots.events import Assignment


def test_an_assignment_survives_its_way_as_text():
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
