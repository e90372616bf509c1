"""Resource limits are restored, and where only root may restore them that is said."""

from __future__ import annotations

import resource

import pytest

from hpsearch.slots.resource_limits import LIMITS, read_limits, restore_limits

FILES = LIMITS.index(resource.RLIMIT_NOFILE)


class Kernel:
    """Limits as a process without rights has them: its hard limits never rise."""

    def __init__(self) -> None:
        self.limits = dict.fromkeys(LIMITS, (100, 1000))

    def getrlimit(self, number: int) -> tuple[int, int]:
        return self.limits[number]

    def setrlimit(self, number: int, limit: tuple[int, int]) -> None:
        if limit[1] > self.limits[number][1] or limit[0] > limit[1]:
            raise ValueError("not allowed to raise maximum limit")
        self.limits[number] = limit


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(resource, "getrlimit", kernel.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", kernel.setrlimit)
    return kernel


def test_every_soft_limit_that_was_lowered_is_restored(kernel: Kernel):
    before = read_limits()
    kernel.limits = dict.fromkeys(LIMITS, (20, 1000))
    assert restore_limits(before)
    assert read_limits() == before


def test_a_hard_limit_that_was_lowered_does_not_keep_the_others_from_being_restored(kernel: Kernel):
    before = read_limits()
    kernel.limits = dict.fromkeys(LIMITS, (20, 1000))
    kernel.limits[LIMITS[0]] = (20, 50)
    assert not restore_limits(before)
    assert read_limits() == ((50, 50), *before[1:])
