"""Number formats: which operations run in 16 bits or in TF32, and the scaling that fp16 needs.

fp16 and bf16 also run on a CPU, correctly and slowly; that is for tests. TF32 changes nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from hpsearch.errors import InvalidConfig, did_you_mean

_AUTOCAST_TYPES = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(precision: str) -> str:
    """The name itself.

    Raises:
        InvalidConfig: There is no such precision.
    """
    if precision not in _AUTOCAST_TYPES:
        known = ", ".join(_AUTOCAST_TYPES)
        raise InvalidConfig(
            f"unknown precision '{precision}'.{did_you_mean(precision, known.split(', '))} Known: {known}."
        )
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Within the block, operations that gain from it and don't lose accuracy run in `precision`."""
    dtype = _AUTOCAST_TYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small fp16 gradients from becoming 0, by scaling the loss; for the other formats it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


@contextmanager
def tensor_cores(precision: str) -> Iterator[None]:
    """Within the block, `tf32` lets an NVIDIA GPU round the factors of fp32 products and convolutions to 10 bits.

    The other formats leave PyTorch's settings as they are: convolutions in TF32, matrix products in full fp32.
    """
    if precision != "tf32":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
