"""The all-reduce of gradients under DistributedDataParallel, also when one rank cannot finish a step.

In each step every rank all-reduces the same gradient buckets in the same order, and no rank continues before all have
sent theirs. A rank that runs out of memory within a step must therefore not simply stop: the others would wait for it
until their timeout. It sends zeros for the buckets that it has not sent yet, as DDP does for ranks that have run out of
data (`DistributedDataParallel.join`). The gradients of that step are then useless, and all ranks discard it
(`epochs.py`).

This does not cover collective calls of the model itself, such as those of SyncBatchNorm.

Source:
    Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", arXiv:2006.15704, section 3.2;
    communication hooks, https://pytorch.org/docs/stable/ddp_comm_hooks.html.
"""

from __future__ import annotations

from typing import Any, final

import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel


@final
class GradientSync:
    """Counts the gradient buckets that this rank has all-reduced in the current step.

    Args:
        replica: The module that is called in training. Unless it is a DistributedDataParallel, nothing is communicated
            and all methods do nothing.
    """

    def __init__(self, replica: nn.Module) -> None:
        self._num_sent = 0
        self._has_begun = False
        if isinstance(replica, DistributedDataParallel):
            replica.register_comm_hook(self, lambda sync, bucket: sync.all_reduce(bucket))
            replica.register_forward_pre_hook(self._on_forward)

    def begin_step(self) -> None:
        """Call this before the first forward pass of each step."""
        self._num_sent, self._has_begun = 0, False

    def send_missing_buckets(self, replica: nn.Module) -> None:
        """All-reduce zeros for the buckets that this step has not sent; afterwards the replica can't be used again.

        This needs as much memory as the gradients, so the tensors of the failed pass must have been freed.

        Args:
            replica: The module that was given to the constructor.
        """
        if not isinstance(replica, DistributedDataParallel):
            return
        reducer: Any = replica.reducer
        if not self._has_begun:
            reducer._rebuild_buckets()  # DDP does this in its second forward pass, together with the other ranks
        for bucket in reducer._get_zeros_like_grad_buckets()[self._num_sent :]:
            dist.all_reduce(bucket.buffer())

    def all_reduce(self, bucket: Any) -> Future[Tensor]:
        """DDP's communication hook: sum a bucket over ranks.

        DDP itself would compute the mean. Here the loss of each micro-batch is already weighted by its share of the
        step's samples (see `step.py`), so the sum is the gradient of the mean loss.
        """
        self._num_sent += 1
        work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]

    def _on_forward(self, module: nn.Module, inputs: Any) -> None:
        self._has_begun = True
