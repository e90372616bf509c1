"""PyTorch's lazy imports write the environment; here they are over before a test looks at it."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _first_optimizer_was_made() -> None:
    """The first optimizer of a process imports `torch._dynamo`, which sets TORCHINDUCTOR_CACHE_DIR."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
