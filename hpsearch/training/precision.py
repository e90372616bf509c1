"""Number formats: which operations run in 16 bits, and the scaling that fp16 needs.

fp16 and bf16 also run on a CPU, correctly and slowly; that is for tests.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from hpsearch.errors import InvalidConfig

_AUTOCAST_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Within the block, operations that gain from it and don't lose accuracy run in `precision`.

    Raises:
        InvalidConfig: There is no such precision.
    """
    if precision not in _AUTOCAST_TYPES:
        raise InvalidConfig(f"unknown precision '{precision}'. Known: {', '.join(_AUTOCAST_TYPES)}.")
    dtype = _AUTOCAST_TYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small fp16 gradients from becoming 0, by scaling the loss; for the other formats it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
