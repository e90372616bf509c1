"""PyTorch's lazy imports write the environment; here they are over before a test looks at it. One thread is enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _first_optimizer_was_made() -> None:
    """The first optimizer of a process imports `torch._dynamo`, which sets TORCHINDUCTOR_CACHE_DIR."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine two threads took 10 times as long as one for these small tensors: they wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
