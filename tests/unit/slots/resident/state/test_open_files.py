"""Descriptors that trials leave open: a cache is accepted, a leak is not."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator

import pytest

from hpsearch.slots.resident.state.open_files import MAX_GROWTH, OpenFiles


@pytest.fixture
def leak() -> Iterator[Callable[[int], None]]:
    leaked: list[int] = []
    yield lambda count: leaked.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(count))
    for each in leaked:
        os.close(each)


def test_what_the_first_trial_leaves_open_may_be_a_cache_and_what_each_leaves_is_a_leak(leak: Callable[[int], None]):
    files = OpenFiles()
    leak(60)
    assert files.find() == []
    leak(MAX_GROWTH)
    assert files.find() == []
    leak(1)
    assert files.find() == [f"{61 + MAX_GROWTH} files, pipes or sockets are still open, most of them /dev/null"]


def test_a_first_trial_that_uses_up_half_of_the_limit_leaves_too_much(leak: Callable[[int], None]):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_open = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 100, hard))
        files = OpenFiles()
        leak(60)
        assert len(files.find()) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
