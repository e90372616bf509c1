"""The console is kept for hpsearch; streams and loggers are put back."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from hpsearch.driver.console_log import redirect_output
from hpsearch.live.terminal import SafeConsole
from hpsearch.slots.trial_log import TrialLog, replace_standard_streams


def test_everything_but_the_yielded_stream_goes_to_the_log(tmp_path: Path, capfd):
    log = tmp_path / "driver.log"
    with redirect_output(log) as console:
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        logging.getLogger("ray.tune").error("from a logger")
        print("for the user", file=console)
    seen, text = capfd.readouterr(), log.read_text()
    assert "for the user" in seen.out and "from" not in seen.out + seen.err
    assert all(words in text for words in ("from C", "from a child", "from a logger"))


def test_a_sweep_goes_on_when_the_reader_of_its_pipe_leaves():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        voice = SafeConsole(file=stream, highlight=False, soft_wrap=True)
        voice.print("heard")
        assert os.read(reader, 100) == b"heard\n"
        os.close(reader)
        voice.print("lost")
        voice.print("lost too")


def test_the_console_is_as_before_afterwards(tmp_path: Path, capfd):
    loggers = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in ("ray", "optuna")
    }
    shown = warnings.showwarning
    with pytest.raises(ValueError, match="inside"), redirect_output(tmp_path / "log"):
        raise ValueError("inside")
    os.write(1, b"visible\n")
    assert "visible" in capfd.readouterr().out
    assert {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in loggers
    } == loggers
    assert warnings.showwarning is shown


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
        log.note("a note")
        log.close()
    print("outside")
    assert path.read_text() == "first\nlow\nlogged\nhpsearch: a note\nsecond\nlow\nlogged\nhpsearch: a note\n"
    assert capfd.readouterr() == ("outside\n", "")


def test_a_trials_log_does_not_follow_a_link(tmp_path: Path):
    (tmp_path / "log.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        TrialLog(tmp_path / "log.txt")
