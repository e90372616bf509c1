"""A trainable that can't be imported ends the sweep as the user's mistake, and its name is free again."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpsearch.driver.driver import Run
from hpsearch.errors import SpecError
from hpsearch.ledger.store import Ledger
from hpsearch.spec.sweep import Sweep
from tests.integration.conftest import TRAINABLES

pytestmark = pytest.mark.ray


PARSES_ARGUMENTS = """import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
ARGS = parser.parse_args()
"""


@pytest.mark.parametrize(
    ("top_level", "words"),
    [
        ("import json\n\nfrom json import no_such_thing\n", ("no_such_thing", "broken.py:3")),
        (
            PARSES_ARGUMENTS,
            ("it exited with code 2: the following arguments are required: --lr", "broken.py:4", "parse_args(), below"),
        ),
    ],
)
def test_an_import_error_names_the_line_and_leaves_the_name_free(
    ray_session, home: Path, tmp_path: Path, top_level: str, words: tuple[str, ...]
):
    module = tmp_path / "broken.py"
    module.write_text(f"{top_level}\n\ndef train(config):\n    yield {{}}\n")
    tree = {
        "name": "broken",
        "trainable": f"{module}:train",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "resources": {"gpu": 0},
    }
    with pytest.raises(SpecError) as caught:
        Run(sweep=Sweep.from_dict(tree), home=home, show="none").start()
    assert all(each in str(caught.value) for each in words)
    assert caught.value.exit_code == 2
    with Ledger(home) as ledger:
        assert ledger.sweeps() == []


def test_a_request_that_can_never_fit_is_an_error(ray_session, home: Path):
    tree = {
        "name": "large",
        "trainable": f"{TRAINABLES}:steady",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "resources": {"cpu": 64, "gpu": 0},
    }
    with pytest.raises(SpecError, match="64"):
        Run(sweep=Sweep.from_dict(tree), home=home, show="none").start()
