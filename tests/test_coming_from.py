"""Every block of the page for those who come from another tool, as they would run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.blocks import run_page

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"


@pytest.mark.ray
@pytest.mark.slow
def test_every_block_runs(tmp_path: Path):
    printed = run_page(PAGE, tmp_path)
    assert "trainable: train.py" in printed
    assert "8 trials" in printed
    assert printed.count("epoch 9: val/loss") == 2
    folders = {path.name for path in (tmp_path / "sweeps").glob("[!.]*") if path.is_dir()}
    assert folders == {"sweep", "from-ray", "from-optuna"}
