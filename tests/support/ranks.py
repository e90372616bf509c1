"""Processes of a test, or of a benchmark, that meet as the ranks of one gloo process group; no Ray."""

from __future__ import annotations

import uuid
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hpsearch.training.parallel import host_store, join
from tests.support.waiting import until

HERE = "127.0.0.1"
NEVER_S = 100_000.0
"""Of a collective call: who waits for a peer that does not come hangs, and the test's own time-out ends it."""


def meeting_place(folder: Path) -> Path:
    """A file that is not there yet, in which rank 0 will say where it is."""
    return folder / f"port-{uuid.uuid4().hex}"


def meet(rank: int, world_size: int, place: Path) -> None:
    """Join the others that were given the same place."""
    if rank == 0:
        store = host_store(HERE)
        beside = place.with_suffix(".new")
        beside.write_text(str(store.port))
        beside.rename(place)
    else:
        until(place.exists, every_s=0.005)
        store = TCPStore(HERE, int(place.read_text()), is_master=False, wait_for_workers=False)
    join(rank, world_size, store=store, device="cpu", timeout_s=NEVER_S)
