"""Fixtures for tests that train in the process of pytest; they apply to the folder whose `conftest.py` imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def first_optimizer_is_made() -> None:
    """Make PyTorch's lazy imports before a test compares its environment.

    The first optimizer of a process imports `torch._dynamo`, which sets TORCHINDUCTOR_CACHE_DIR.
    """
    import torch

    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Compute in one thread: on these small tensors two threads wait for each other.

    Gaussian processes took 4 times as long with two threads, training on a busy machine 10 times as long.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
