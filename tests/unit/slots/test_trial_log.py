"""The log of a trial: what is written to it, and where it may be."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from hpsearch.slots.reporter import note
from hpsearch.slots.trial_log import TrialLog, replace_standard_streams


def test_a_trials_log_takes_prints_and_descriptors_and_is_appended_to(tmp_path: Path, capfd, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    replace_standard_streams()
    logger = logging.getLogger("set up by the first trial")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    path = tmp_path / "log.txt"
    for line in ("first", "second"):
        log = TrialLog(path)
        with log.capture():
            print(line)
            os.write(2, b"low\n")
            logger.warning("logged")
            note("a note")
        log.close()
    print("outside")
    assert path.read_text() == "first\nlow\nlogged\nhpsearch: a note\nsecond\nlow\nlogged\nhpsearch: a note\n"
    assert capfd.readouterr() == ("outside\n", "")


def test_a_trials_log_does_not_follow_a_link(tmp_path: Path):
    (tmp_path / "log.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        TrialLog(tmp_path / "log.txt")
