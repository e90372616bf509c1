"""Memory that takes care of itself: what does not fit is done in smaller pieces, and all ranks do the same.

A phase of an epoch (training, evaluation) is tried; when any rank runs out of GPU memory in it, every rank halves its
micro-batch and does the phase again from its start. The samples of an optimizer step stay the same, so that the
hyperparameters mean what they meant. (But for batch norms, whose batches are micro-batches.)

Ranks agree by a flag that they exchange after each step, on the host: a GPU is not waited for. The rank that ran out
takes part in the step's collective calls all the same (`gradient_sync.py`), so that nobody hangs.
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
"""What CUDA's libraries say when there is no room for their own workspaces; PyTorch makes plain RuntimeErrors of it."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a smaller batch may help."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in ALLOCATION_FAILURES)


@final
class MicroBatch:
    """Samples of one forward pass of one phase on each rank.

    Args:
        size: Samples to begin with.
        phase: For messages.
        is_recoverable: Whether this rank can go on alone after it ran out; if not, the error passes through.
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
        """What `work` returns; None if it ran out of memory, and then nothing holds what its frames held."""
        try:
            return work(*arguments)
        except RuntimeError as error:
            if not self._is_recoverable or not is_out_of_memory(error):
                raise
            self._error = " ".join(str(error).split()) or "out of memory"
        return None  # here the error is gone, and with its traceback the frames that held activations

    def halve(self) -> None:
        """After any rank ran out: every rank calls it, and gives back to its device what nobody holds any more.

        Raises:
            torch.OutOfMemoryError: There is nothing left to halve; the same words on every rank.
        """
        error, self._error = first_of_ranks(self._error), None
        if self.size == 1:
            raise torch.OutOfMemoryError(f"a micro-batch of 1 sample does not fit in {self._phase}: {error}")
        self.size //= 2
        logger.warning(
            "out of GPU memory in %s, it goes on with a micro-batch of %d: %s", self._phase, self.size, error
        )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
