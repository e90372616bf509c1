"""Pages of the guide whose blocks run as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blocks import run_page

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.ray
@pytest.mark.slow
def test_the_page_on_several_gpus_runs(tmp_path: Path):
    printed = run_page(DOCS / "several-gpus.md", tmp_path)
    assert printed.count("Best configuration:") == 4
    folders = {path.name for path in (tmp_path / "sweeps").iterdir() if path.is_dir()}
    assert folders == {"rings-dp", "rings-ddp", "alexnet", "fsdp"}
