"""Which rank of a parallel trial this process is, as `torchrun` or a slot has put it into the environment."""

from __future__ import annotations

import atexit
import os
from typing import Any

VARIABLES = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})


def has_rank_variables() -> bool:
    """Whether the environment names a rank and a place to meet the others."""
    return os.environ.keys() >= VARIABLES


def in_process_group() -> bool:
    """Whether this process is in a process group, made by its own code or by hpsearch."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def rank_from_environment() -> dict[str, Any]:
    """`rank`, `world_size` and `device`, as `TrialContext` takes them; empty where nothing has set them."""
    if not has_rank_variables():
        return {}
    import torch

    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    return {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"]), "device": device}


def join_group(*, rank: int, world_size: int, device: Any) -> None:
    """Meet the other ranks, until this process ends; does nothing where it has a process group already."""
    import torch.distributed as dist

    from hpsearch.training.parallel import join, leave

    if dist.is_initialized() or not has_rank_variables():
        return
    join(rank, world_size, store=None, device=device)
    atexit.register(leave)


def loader_workers(gpus: float, cpu_threads: int, concurrent: int) -> int:
    """DataLoader processes for each training process: min(4 x GPUs, CPU threads), shared.

    Four loaders keep one GPU fed. Without a GPU the training itself wants every core, and data sets are small: there,
    and where the share is below one, batches are loaded in the training process, which is what 0 means.

    Args:
        gpus: GPUs of this machine that are in use; may be a fraction.
        cpu_threads: Threads of this machine.
        concurrent: Training processes on this machine, over all trials and ranks.

    Example:
        >>> loader_workers(4, 8, 2), loader_workers(1, 16, 1), loader_workers(0, 64, 4)
        (4, 4, 0)
    """
    return int(min(4 * gpus, cpu_threads)) // max(1, concurrent)
