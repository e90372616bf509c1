"""A working directory with a spec and its trainable, for tests of the command line below Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.spec.file import dump_yaml

TREE: dict[str, Any] = {
    "name": "net",
    "trainable": "train.py:train",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "limits": {"trials": 2, "epochs": 1},
}
"""The spec in `net.yaml`."""


def enter_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the project in a folder and work there until the end of the test, which fails if it starts a Ray."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HPSEARCH_HOME", raising=False)
    (folder / "train.py").write_text("def train(config):\n    yield {'loss': config['x']}\n")
    (folder / "net.yaml").write_text(dump_yaml(TREE))
    monkeypatch.setattr("hpsearch.driver.session.connect", lambda *_, **__: pytest.fail("a Ray was started"))
