"""Smaller micro-batches after running out of GPU memory, on all ranks alike.

When any rank runs out of GPU memory in one phase of an epoch (training or evaluation), all ranks halve their
micro-batch and repeat that phase from its start. Gradient accumulation keeps the samples of an optimizer step the same,
so the hyperparameters keep their meaning; only batch norm sees smaller batches.

After each step the ranks exchange a flag on the host, without synchronising with the GPU. The rank that ran out of
memory still takes part in the all-reduce of that step (`gradient_sync.py`), so no rank waits forever.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any, TypeVar, final

import torch

from hpsearch.training.parallel import first_of_ranks

T = TypeVar("T")

logger = logging.getLogger(__name__)


ALLOCATION_FAILURES = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED")
"""Errors of CUDA's libraries that can't allocate a workspace; PyTorch raises them as plain RuntimeError."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that GPU memory was too small, so that a smaller batch may help."""
    return isinstance(error, torch.OutOfMemoryError) or any(code in str(error) for code in ALLOCATION_FAILURES)


@final
class MicroBatch:
    """The micro-batch size of one phase, which shrinks after running out of GPU memory.

    Args:
        size: Samples of one forward pass on each rank, at first.
        phase: `training` or `evaluation`, for messages.
        is_recoverable: Whether this rank can leave a step without the other ranks. If not, errors are raised.
    """

    def __init__(self, size: int, *, phase: str, is_recoverable: bool = True) -> None:
        self.size = size
        self._phase, self._is_recoverable = phase, is_recoverable
        self._error: str | None = None

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether this rank ran out of memory since the last `halve`."""
        return self._error is not None

    def run(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Call `work(*arguments)`, and catch an out-of-memory error.

        Returns:
            The result of `work`; None if it ran out of memory. In that case its frames, and with them the activations
            that they held, have been freed.

        Raises:
            RuntimeError: Any other error, and out-of-memory errors unless `is_recoverable`.
        """
        try:
            return work(*arguments)
        except RuntimeError as error:
            if not self._is_recoverable or not is_out_of_memory(error):
                raise
            self._error = " ".join(str(error).split()) or "out of memory"
        return None  # outside of the `except` block the traceback is freed, and with it the activations

    def halve(self) -> None:
        """Halve the size, and return unused memory to the device. All ranks call it after any rank ran out of memory.

        Raises:
            torch.OutOfMemoryError: The size is 1 already; the message is the same on all ranks.
        """
        error, self._error = first_of_ranks(self._error), None
        if self.size == 1:
            raise torch.OutOfMemoryError(f"a micro-batch of 1 sample does not fit in {self._phase}: {error}")
        self.size //= 2
        logger.warning(
            "out of GPU memory in %s; continuing with a micro-batch of %d: %s", self._phase, self.size, error
        )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
