"""Gradients summed over ranks as DDP finds them ready; and what a rank still owes the others when it can't go on.

In each step every rank sends the same buckets in the same order, and none can go on before all have sent theirs. So a
rank that runs out of memory halfway must not simply stop: the others would wait for it until the time-out. It sends
zeros in place of the buckets that it has not sent yet, as DDP does for ranks that have run out of data
(`DistributedDataParallel.join`). The step is spoilt then; that all ranks learn of it is the business of `oom.py`.

What this can't do is take part in collective calls of the model itself, such as those of SyncBatchNorm.
"""

from __future__ import annotations

from typing import Any, final

import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel


@final
class GradientSync:
    """What this rank has sent in the current step.

    Args:
        replica: Only a DistributedDataParallel is watched; for any other module nothing is sent and nothing owed.
    """

    def __init__(self, replica: nn.Module) -> None:
        self._num_sent = 0
        self._has_begun = False
        if isinstance(replica, DistributedDataParallel):
            replica.register_comm_hook(self, lambda exchange, bucket: exchange.send(bucket))
            replica.register_forward_pre_hook(self._forward_begins)

    def begin_step(self) -> None:
        """To be called before the first forward pass of each step."""
        self._num_sent, self._has_begun = 0, False

    def send_rest(self, replica: nn.Module) -> None:
        """Send zeros for what this step has not sent; the replica can't be used again.

        It needs as much memory as the gradients, so what the failed pass has left must be gone.
        """
        if not isinstance(replica, DistributedDataParallel):
            return
        reducer: Any = replica.reducer
        if not self._has_begun:
            reducer._rebuild_buckets()  # in its second forward pass DDP does this, together with the other ranks
        for bucket in reducer._get_zeros_like_grad_buckets()[self._num_sent :]:
            dist.all_reduce(bucket.buffer())

    def send(self, bucket: Any) -> Future[Tensor]:
        """DDP's hook; it sums where DDP alone takes the mean, since losses are weighted by their share of the step."""
        self._num_sent += 1
        work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]

    def _forward_begins(self, module: nn.Module, inputs: Any) -> None:
        self._has_begun = True
