"""Several processes that train one model: the process group, DistributedDataParallel, and reductions over ranks.

All functions also work in a single process, which needs no process group.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DataParallel, DistributedDataParallel

from hpsearch.errors import InvalidConfig

T = TypeVar("T")


def host_store(address: str) -> TCPStore:
    """A TCP store, served by this process, through which ranks find each other.

    The port is bound before it is returned, so no other process can take it in between. At a loopback address, other
    machines can't reach the store.

    Args:
        address: Address of this machine under which the other ranks reach it, IPv4 or IPv6.

    Returns:
        The store. Keep a reference to it for as long as the process group exists.

    Raises:
        OSError: The address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
    except OSError:
        listener.close()
        raise
    return TCPStore(address, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


def join(
    rank: int, world_size: int, *, store: Store | None, device: torch.device | str, timeout_s: float = 120.0
) -> None:
    """Initialise the process group; returns when all ranks have called it.

    Args:
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        store: Store through which the ranks find each other; None uses `MASTER_ADDR` and `MASTER_PORT` from the
            environment, as `torchrun` sets them.
        device: Device of this rank. On a GPU, CUDA tensors use NCCL and CPU tensors use gloo; on the CPU all use gloo.
        timeout_s: Seconds after which this call, or any collective call, fails if a rank does not answer.

    Raises:
        torch.distributed.DistError: A rank did not join in time.
    """
    device, timeout = torch.device(device), timedelta(seconds=timeout_s)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if store is not None:
        store.set_timeout(timeout)
    dist.init_process_group(
        backend="cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",  # gloo for the flags of `any_rank`
        init_method="env://" if store is None else None,
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )


def leave() -> None:
    """Destroy the process group, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(
    model: nn.Module, *, world_size: int, device: torch.device, parallel: str, sync_batch_norm: bool = False
) -> nn.Module:
    """Wrap a model for data-parallel training.

    Args:
        model: The model on its device.
        world_size: Number of processes of the trial.
        device: Device of this rank.
        parallel: `ddp` or `dp`, as in the spec.
        sync_batch_norm: Whether to convert the model's batch norms, in place, to SyncBatchNorm.

    Returns:
        The module to call in training. With several ranks it is a DistributedDataParallel, which copies rank 0's
        weights to all ranks. A single rank, or a model without trainable parameters, gets the model itself. With
        `parallel: dp` it is a DataParallel over all GPUs that this process sees; on a CPU that only calls the model.

    Raises:
        InvalidConfig: `sync_batch_norm` on CPUs, which PyTorch does not support, or `dp` with several processes.
    """
    if parallel == "dp":
        return _data_parallel(model, world_size)
    if world_size == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    if sync_batch_norm:
        if device.type == "cpu":
            raise InvalidConfig(
                "sync_batch_norm: PyTorch synchronises batch norms on GPUs only; these ranks have none."
            )
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,  # gradients are views of the buckets, which saves a copy of the model
        forward_sync_buffers=False,  # rank 0's buffers are copied once per epoch, see `copy_from_rank_0`
    )


def _data_parallel(model: nn.Module, world_size: int) -> nn.Module:
    if world_size > 1:
        raise InvalidConfig(
            f"parallel: dp is one process with all GPUs, but this trial has {world_size} workers. Use workers: 1, or"
            " parallel: ddp."
        )
    return DataParallel(model)


def gpu_peak_memory(*, device: torch.device, parallel: str) -> dict[str, float]:
    """Peak memory reserved on each GPU so far, GiB, under the names `gpu0_peak_gib`, ...; empty unless `parallel: dp`.

    DataParallel puts each batch on GPU 0 first and gathers outputs and gradients there, so that GPU needs the most.
    """
    if parallel != "dp" or device.type != "cuda":
        return {}
    count = torch.cuda.device_count()
    return {f"gpu{index}_peak_gib": torch.cuda.max_memory_reserved(index) / 2**30 for index in range(count)}


def unwrap(kept: T) -> T:
    """The module inside a DDP or DataParallel wrapper, whose parameter names do not depend on the number of workers."""
    if isinstance(kept, DistributedDataParallel | DataParallel):
        return cast(T, kept.module)
    return kept


def without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Within the block, `backward` accumulates gradients on this rank without an all-reduce."""
    if isinstance(model, DistributedDataParallel):
        return cast(AbstractContextManager[None], model.no_sync())
    return nullcontext()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor in place over all ranks of the process group, and return it; unchanged without a group."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def any_rank(*facts: bool) -> list[bool]:
    """For each flag, whether it is true on any rank.

    The ranks exchange a few bytes on the host, without synchronising with the GPU.
    """
    if not dist.is_initialized():
        return list(facts)
    flags = torch.tensor(facts, dtype=torch.uint8, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def first_of_ranks(text: str | None) -> str | None:
    """The text of the lowest rank whose text is not None, returned on all ranks; None if all are None."""
    if not dist.is_initialized():
        return text
    texts: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(texts, text)
    return next((one for one in texts if one is not None), None)


def copy_from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Broadcast tensors of rank 0 to all ranks, in place, with one message for each dtype and device.

    For buffers such as the running statistics of batch norm, which DDP does not average.
    """
    if not dist.is_initialized():
        return
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in groups.values():
        flat = torch.cat([tensor.flatten() for tensor in group])
        dist.broadcast(flat, src=0)
        for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(part.view_as(tensor))
