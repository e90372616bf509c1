"""What holds for every test of the contracts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

MAX_CPU_S = 40.0
"""For one test; the slowest takes a quarter of it. All of them together take two minutes."""


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """For Gaussian processes: on their small tensors, two of OpenMP's threads take 4 times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def bounded_time() -> Iterator[None]:
    """A searcher that takes far more time than it did fails here, on a busy machine as on a quiet one."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < MAX_CPU_S or "HPSEARCH_TEST_ALL_EXAMPLES" in os.environ, f"took {took:.0f} s of CPU"
