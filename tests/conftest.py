"""What all tests share: a home folder of their own, and the environment as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import chromium, chromium_path

MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 4 * 2**30
"""Far more than the tests hold at any time: the folder of one that has passed goes at once."""


def pytest_configure(config: pytest.Config) -> None:
    """Folders of tests are in memory, where there is room.

    Every commit of a ledger is written through: on a disk that others use, tests of ledgers take two to four times as
    long. A folder in which nothing may be executed is of no use: some tests build a library.
    """
    if os.access(MEMORY, os.W_OK):
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize >= MIN_FREE_BYTES and not found.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for a ledger that no other test sees."""
    return tmp_path / "sweeps"


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A temporary folder that every user may enter; the folders above `tmp_path` are the test's user's alone."""
    with tempfile.TemporaryDirectory(prefix="open-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; for tests marked `browser`."""
    if chromium_path() is None:
        pytest.skip("there is no chromium on the path")
    with chromium() as started:
        yield started


@pytest.fixture(autouse=True)
def environment_is_put_back() -> Iterator[None]:
    """A test that leaves the environment or the working directory changed fails here, not in its successor."""
    before, folder = dict(os.environ), Path.cwd()
    yield
    changed = {name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}
    changed -= {"PYTEST_CURRENT_TEST"}
    os.environ.clear()
    os.environ.update(before)
    assert folder == Path.cwd()
    assert not {
        name for name in changed if not name.startswith(("RAY_", "KMP_", "OMP_", "CUDA_", "PYTORCH_", "TORCHINDUCTOR_"))
    }, changed
