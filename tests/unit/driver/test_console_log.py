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


def test_everything_but_the_yielded_stream_goes_to_the_log(tmp_path: Path, capfd):
    log = tmp_path / "driver.log"
    with redirect_output(log) as console:
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        logging.getLogger("ray.tune").error("from a logger")
        print("for the user", file=console)
    seen, text = capfd.readouterr(), log.read_text()
    assert "for the user" in seen.out and "from" not in seen.out + seen.err
    assert all(part in text for part in ("from C", "from a child", "from a logger"))


def test_a_sweep_continues_when_the_reader_of_its_pipe_leaves():
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
