"""Which rank of a parallel trial this process is, as `torchrun` or a slot has put it into the environment."""

from __future__ import annotations

import atexit
import os
from typing import Any

VARIABLES = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})


def has_place() -> bool:
    """Whether the environment names a rank and a place to meet the others."""
    return os.environ.keys() >= VARIABLES


def in_group() -> bool:
    """Whether this process is in a process group, made by its own code or by hpsearch."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def place_from_environment() -> dict[str, Any]:
    """`rank`, `world_size` and `device`, as `TrialContext` takes them; empty where nothing has set them."""
    if not has_place():
        return {}
    import torch

    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    return {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"]), "device": device}


def join_group(*, rank: int, world_size: int, device: Any) -> None:
    """Meet the other ranks, until this process ends; does nothing where it has a process group already."""
    import torch.distributed as dist

    from hpsearch.training.parallel import join, leave

    if dist.is_initialized() or not has_place():
        return
    join(rank, world_size, store=None, device=device)
    atexit.register(leave)
