"""Sweeps on real Ray that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.real import RealSweep


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Callable[..., RealSweep]]:
    """Make a sweep of the diarist: `victim(trials=2)`."""
    made: list[RealSweep] = []

    def make(**keys: Any) -> RealSweep:
        made.append(RealSweep(tmp_path / f"victim-{len(made)}", **keys))
        return made[-1]

    yield make
    for sweep in made:
        sweep.close()
