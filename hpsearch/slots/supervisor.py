"""The supervisor: the Tune trainable of a slot. It owns the ranks, needs no torch, and lives through any trial.

Tune calls `step` again and again; each call is one event of the current attempt. What a slot does is in `slot.py`.
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
    """The slot as Tune sees it; `make_slot_class` adds the settings."""

    settings: SlotSettings

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """An empty head bundle for the supervisor, which costs nothing, and one bundle for each rank."""
        request = cls.settings.request
        bundle = {"CPU": request.cpu} | ({"GPU": request.gpu} if request.gpu else {})
        return PlacementGroupFactory([{}] + [bundle] * request.workers)

    def __repr__(self) -> str:
        return f"{self.settings.sweep} supervisor"

    def setup(self, config: dict[str, Any]) -> None:
        """Make the slot; its ranks start with the first step."""
        self._slot = Slot(self.settings, RankGroup(self.settings, ray.util.get_current_placement_group()))
        self._slot.assign(Assignment.from_json(config[ASSIGNMENT_KEY]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self._slot.assign(Assignment.from_json(new_config[ASSIGNMENT_KEY]))
        return True

    def step(self) -> dict[str, Any]:
        """One event."""
        return {EVENT_KEY: self._slot.next_event()}

    def set_slot_number(self, number: int) -> None:
        """Called by the driver before the first step: how the ranks are called in Ray's dashboard."""
        self._slot.be(number)

    def end_assignment(self, save: bool, run_to_end: bool) -> None:
        """Called by the driver as soon as a trial is over, so that memory is free before the next one comes."""
        self._slot.finish(save=save, run_to_end=run_to_end)

    def cleanup(self) -> None:
        """End the slot."""
        self._slot.close()


def make_slot_class(settings: SlotSettings) -> type[SlotTrainable]:
    """The trainable of one sweep; Ray's dashboard shows its name."""
    return type("Slot", (SlotTrainable,), {"settings": settings, "__module__": SlotTrainable.__module__})
