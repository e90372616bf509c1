"""Under `torchrun`: which rank this process is, from the environment; its process group is joined."""

from __future__ import annotations

import atexit
import os
from typing import Any

VARIABLES = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})


def join_torchrun() -> dict[str, Any]:
    """Join the group of the processes that `torchrun` started, until this one ends.

    Returns:
        `rank`, `world_size` and `device`, as `TrialContext` takes them; empty where `torchrun` did not start this.
    """
    if not os.environ.keys() >= VARIABLES:
        return {}
    import torch

    from hpsearch.training.parallel import join, leave

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    if world_size > 1:
        join(rank, world_size, store=None, device=device)
        atexit.register(leave)
    return {"rank": rank, "world_size": world_size, "device": device}
