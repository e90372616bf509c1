"""Settings of a slot as the tests of its parts need them."""

from __future__ import annotations

from typing import Any

from hpsearch.devices.requests import WorkerRequest
from hpsearch.slots.settings import SlotSettings


def settings_of(**changed: Any) -> SlotSettings:
    """One CPU rank, nothing else."""
    keys: dict[str, Any] = {
        "sweep": "test",
        "trainable": b"",
        "metric": "loss",
        "request": WorkerRequest(cpu=1, gpu=0, workers=1),
        "concurrent": 1,
        "precision": "fp32",
        "parallel": "ddp",
        "leak_warnings": False,
        "loaders": 0,
        "data": {},
        "sweep_dir": "",
        "sys_path": (),
        "working_dir": "",
        "environment": {},
    }
    return SlotSettings(**{**keys, **changed})
