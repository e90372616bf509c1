"""The rank of this process as `torchrun` or a slot sets it in the environment, and the number of DataLoader workers."""

from __future__ import annotations

import atexit
import os
from typing import Any

RANK_VARIABLES = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})
"""Environment variables without which a process is not one of several ranks."""


def has_rank_variables() -> bool:
    """Whether the environment sets this process's rank and the address at which the ranks meet."""
    return os.environ.keys() >= RANK_VARIABLES


def in_process_group() -> bool:
    """Whether this process is in a process group, initialised by the training code or by hpsearch."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def rank_from_environment() -> dict[str, Any]:
    """The arguments `rank`, `world_size` and `device` of `TrialContext`; empty unless the environment sets a rank."""
    if not has_rank_variables():
        return {}
    import torch

    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    return {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"]), "device": device}


def join_group(*, rank: int, world_size: int, device: Any) -> None:
    """Initialise the process group until this process ends.

    Does nothing if there is a process group already, or if the environment sets no rank.

    Args:
        rank: This process, in [0, world_size).
        world_size: Number of ranks.
        device: Device of this rank; a GPU uses NCCL, the CPU uses gloo.
    """
    import torch.distributed as dist

    from hpsearch.training.parallel import join, leave

    if dist.is_initialized() or not has_rank_variables():
        return
    join(rank, world_size, store=None, device=device)
    atexit.register(leave)


def loader_workers(gpus: float, cpu_threads: int, concurrent: int) -> int:
    """Number of DataLoader workers for each training process: min(4 x GPUs, CPU threads), shared among them.

    Four workers usually keep one GPU busy. Without a GPU the training itself uses every core, so batches are loaded in
    the training process; the same holds where the share is below one.

    Args:
        gpus: Number of GPUs in use on this machine; may be a fraction.
        cpu_threads: Number of CPU threads of this machine.
        concurrent: Number of training processes on this machine, over all trials and ranks.

    Returns:
        DataLoader workers of each training process; 0 loads in the training process itself.

    Example:
        >>> loader_workers(4, 8, 2), loader_workers(1, 16, 1), loader_workers(0, 64, 4)
        (4, 4, 0)
    """
    return int(min(4 * gpus, cpu_threads)) // max(1, concurrent)
