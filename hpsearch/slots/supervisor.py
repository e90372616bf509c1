"""The supervisor of a slot: a trainable of Ray Tune that starts the slot's ranks and keeps them from trial to trial.

Ray Tune runs it as an actor, needs one for each trial that runs at the same time, and calls `step` again and again:
each call returns one event of the current assignment. The actor imports no torch. What a slot does is in `slot.py`.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.tune import PlacementGroupFactory, Trainable

from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_group import RankGroup
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.slot import Slot

ASSIGNMENT_KEY = "assignment"
"""Key of the one entry in a Tune trial's config: the assignment as JSON."""
EVENT_KEY = "event"
"""Key of the event in a Tune result."""


class SlotTrainable(Trainable):
    """A slot as Ray Tune sees it; `make_slot_class` adds the settings."""

    settings: SlotSettings
    """Settings of the sweep."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """One bundle for each rank, and an empty head bundle for the supervisor, which needs no resources."""
        request = cls.settings.request
        bundle = {"CPU": request.cpu} | ({"GPU": request.gpu} if request.gpu else {})
        return PlacementGroupFactory([{}] + [bundle] * request.workers)

    def __repr__(self) -> str:
        return f"{self.settings.sweep} supervisor"

    def setup(self, config: dict[str, Any]) -> None:
        """Make the slot with its first assignment; the ranks start with the first `step`."""
        self._slot = Slot(self.settings, RankGroup(self.settings, ray.util.get_current_placement_group()))
        self._slot.assign(Assignment.from_json(config[ASSIGNMENT_KEY]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next assignment in the same actor, which is what Tune calls reusing an actor."""
        self._slot.assign(Assignment.from_json(new_config[ASSIGNMENT_KEY]))
        return True

    def step(self) -> dict[str, Any]:
        """Train until the next event of the assignment, in most cases one epoch."""
        return {EVENT_KEY: self._slot.next_event()}

    def set_slot_number(self, number: int) -> None:
        """Number the slot, from 1; the driver calls this before the first step, for names in Ray's dashboard."""
        self._slot.set_number(number)

    def end_assignment(self, save: bool, run_to_end: bool) -> None:
        """End the assignment; the driver calls this at once, so that memory is free before the next one arrives."""
        self._slot.finish(save=save, run_to_end=run_to_end)

    def cleanup(self) -> None:
        """End the slot with its ranks."""
        self._slot.close()


def make_slot_class(settings: SlotSettings) -> type[SlotTrainable]:
    """The trainable of one sweep, with its settings; Ray's dashboard shows the class's name, `Slot`."""
    return type("Slot", (SlotTrainable,), {"settings": settings, "__module__": SlotTrainable.__module__})
