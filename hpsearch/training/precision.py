"""Number formats: autocast to 16 bits, TF32 on NVIDIA GPUs, and the gradient scaling that fp16 needs.

fp16 and bf16 also run on a CPU, where they are slow; that is for tests. TF32 has no effect there.

Source:
    Micikevicius et al., "Mixed Precision Training", arXiv:1710.03740; https://pytorch.org/docs/stable/amp.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from hpsearch.errors import InvalidConfig, did_you_mean

_AUTOCAST_TYPES = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Name of a precision to the type that autocast computes in; None without autocast."""


def check_precision(precision: str) -> str:
    """Return the name of a precision if it is known.

    Raises:
        InvalidConfig: The name is not `fp32`, `tf32`, `bf16` or `fp16`.
    """
    if precision not in _AUTOCAST_TYPES:
        known = ", ".join(_AUTOCAST_TYPES)
        raise InvalidConfig(
            f"unknown precision '{precision}'.{did_you_mean(precision, known.split(', '))} Known: {known}."
        )
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """`torch.autocast` to the 16-bit format; a context manager without effect for `fp32` and `tf32`."""
    dtype = _AUTOCAST_TYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """A scaler that keeps small fp16 gradients from underflowing to 0; disabled for the other formats."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


@contextmanager
def tensor_cores(precision: str) -> Iterator[None]:
    """Within the block, `tf32` computes fp32 matrix products and convolutions on NVIDIA GPUs in TF32 (10-bit mantissa).

    The other formats leave PyTorch's defaults: convolutions in TF32, matrix products in full fp32.
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
