"""Several processes that train one model: the process group, DistributedDataParallel, and sums over ranks.

A world of one takes the same calls and needs no process group.
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
    """A place where ranks can meet, served by this process; to be kept as long as they are together.

    Its port is taken from the moment on at which it is known, and no other machine reaches it at a loopback address.

    Args:
        address: Of this machine, as the other ranks know it.
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
    """Meet the other ranks; returns when all are there.

    Args:
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        store: Where they meet; None for the place that the environment names, as `torchrun` sets it.
        device: NCCL for tensors on a GPU, gloo for those on the host.
        timeout_s: After so long without an answer of a peer, here and in every collective call, an error is raised.
    """
    device, timeout = torch.device(device), timedelta(seconds=timeout_s)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if store is not None:
        store.set_timeout(timeout)
    dist.init_process_group(
        backend="cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",  # ranks agree on the host, see `any_rank`
        init_method="env://" if store is None else None,
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )


def leave() -> None:
    """Leave the process group, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(
    model: nn.Module, *, world_size: int, device: torch.device, parallel: str, sync_batch_norm: bool = False
) -> nn.Module:
    """The module to call in training: it averages gradients over ranks and begins with rank 0's weights everywhere.

    A world of one, and a model with nothing to train, get the model itself; under `parallel: dp` a world of one gets
    DataParallel over the GPUs that this process sees, which on a CPU calls the model and does nothing else.

    Args:
        model: On its device.
        world_size: Processes of the trial.
        device: Where this rank computes.
        parallel: ddp or dp, see the key of the spec.
        sync_batch_norm: Whether the model's batch norms take their statistics over all ranks; changes the model.

    Raises:
        InvalidConfig: PyTorch synchronises batch norms on GPUs only.
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
        gradient_as_bucket_view=True,  # gradients live in the buffers that are sent: saves one copy of the model
        forward_sync_buffers=False,  # rank 0's are copied once an epoch, see `copy_from_rank_0`
    )


def _data_parallel(model: nn.Module, world_size: int) -> nn.Module:
    if world_size > 1:
        raise InvalidConfig(f"parallel: dp is one process with all GPUs, this trial has {world_size} workers.")
    return DataParallel(model)


def gpu_peak_memory(*, device: torch.device, parallel: str) -> dict[str, float]:
    """Under `parallel: dp`, most memory reserved on each GPU so far: `gpu0_peak_gib` and so on; else nothing.

    DataParallel puts every batch on GPU 0, and gathers all outputs, the loss and the gradients there.
    """
    if parallel != "dp" or device.type != "cuda":
        return {}
    count = torch.cuda.device_count()
    return {f"gpu{index}_peak_gib": torch.cuda.max_memory_reserved(index) / 2**30 for index in range(count)}


def unwrap(kept: T) -> T:
    """The module inside of a wrapper, so that its names are the same with one worker and with several."""
    if isinstance(kept, DistributedDataParallel | DataParallel):
        return cast(T, kept.module)
    return kept


def without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Within the block, `backward` adds up gradients and sends nothing."""
    if isinstance(model, DistributedDataParallel):
        return cast(AbstractContextManager[None], model.no_sync())
    return nullcontext()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """`tensor`, summed in place over all ranks of the process group; itself where there is none."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def any_rank(*facts: bool) -> list[bool]:
    """For each fact whether it holds on any rank; a message of a few bytes between hosts, no GPU is waited for."""
    if not dist.is_initialized():
        return list(facts)
    flags = torch.tensor(facts, dtype=torch.uint8, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def first_of_ranks(text: str | None) -> str | None:
    """The text of the first rank that has one, on every rank; None if none has."""
    if not dist.is_initialized():
        return text
    texts: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(texts, text)
    return next((one for one in texts if one is not None), None)


def copy_from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with rank 0's, for example running means, which DDP does not average; one message a type."""
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
