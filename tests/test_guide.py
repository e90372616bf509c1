"""Pages of the guide whose blocks run as they are; the long ones by `make examples` only."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.blocks import run_page

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.ray
@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path):
    printed = run_page(DOCS / "quickstart.md", tmp_path)
    assert "Best configuration:" in printed
    said = re.search(r"trial \d+, weights of epoch (\d+): (\d+)% right", printed)
    assert said is not None and int(said[1]) >= 1 and int(said[2]) > 70
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sweeps" / "digits" / "report.html").is_file()
    assert "1 reused" in printed, "the best configuration alone trains nothing"


@pytest.mark.skipif("HPSEARCH_TEST_ALL_EXAMPLES" not in os.environ, reason="make examples runs it")
@pytest.mark.ray
@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_on_several_gpus_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else torchrun says that it sets it
    printed = run_page(DOCS / "several-gpus.md", tmp_path)
    assert printed.count("Best configuration:") == 2
    assert {path.name for path in (tmp_path / "sweeps").iterdir() if path.is_dir()} == {"rings-dp", "rings-ddp"}
    assert printed.count("epoch 3: train_loss") == 2, "of the two that were trained by hand"


@pytest.mark.skipif("HPSEARCH_TEST_ALL_EXAMPLES" not in os.environ, reason="make examples runs it")
@pytest.mark.ray
@pytest.mark.slow
def test_the_page_on_architecture_search_runs(tmp_path: Path):
    printed = run_page(DOCS / "architecture-search.md", tmp_path)
    assert "Best configuration:" in printed
    assert "# layer2: kind " in printed
