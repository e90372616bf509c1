"""Verbs for a sweep that another process runs: a driver's lock and signals are real, Ray is not needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hpsearch.cli import app, logs_and_stop
from hpsearch.cli.printing import terminal_text
from hpsearch.errors import HpsearchError, LinkRefused, SweepInUse, UnknownSweep
from hpsearch.ledger.lock import holder_of, is_held
from hpsearch.ledger.store import Ledger
from hpsearch.spec.sweep import Sweep
from tests.support.waiting import PATIENCE_S

SPEC = Sweep.from_dict(
    {"name": "net", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": 1}}
).to_dict()
DRIVER = """
import signal, sys, time
from pathlib import Path
from hpsearch.ledger.lock import writer_lock
from hpsearch.driver.signals import EXIT_CODES, Signals

def be_deaf():  # as a process is that gets no time on a busy machine
    signal.pthread_sigmask(signal.SIG_BLOCK, EXIT_CODES)
    while len(signal.sigpending()) < 2:
        time.sleep(0.01)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EXIT_CODES)

stopping = []
with writer_lock(Path(sys.argv[1]), "net"), Signals(stopping.append):
    print("ready", flush=True)
    try:
        be_deaf() if sys.argv[2] == "deaf" else None
        while not stopping or sys.argv[2] != "willing":
            time.sleep(0.05)
        print("in good order")
    except KeyboardInterrupt:
        print("at once")
"""


@pytest.fixture
def folder(home: Path) -> Path:
    """Of a sweep with one trial that runs and has printed a line."""
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("net", SPEC)
        ledger.add_trial(record, 1, point={"x": 1}, seed=0, fingerprint=None)
    (home / "net" / "trials" / "0001").mkdir(parents=True)
    (home / "net" / "trials" / "0001" / "log.txt").write_text("first \u00e9poch\n")
    return home / "net"


@pytest.fixture
def driver(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that holds the sweep's lock as a driver does.

    A `stubborn` one ends at the second signal alone; so does one that is `deaf`, which hears both when they are there.
    """
    started: list[subprocess.Popen[str]] = []

    def start(kind: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", DRIVER, str(folder), kind]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None and stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def run(*words: str, home: Path) -> Result:
    """What a verb prints; an error of ours is raised as the command line's starter gets it."""
    result = CliRunner().invoke(app, [*words, "--home", str(home)])
    if isinstance(result.exception, HpsearchError):
        raise result.exception
    return result


def test_stop_ends_a_sweep_in_good_order_and_says_how_it_goes_on(folder: Path, driver) -> None:
    process = driver("willing")
    holder = holder_of(folder)
    assert holder is not None and (holder.pid, holder.is_here) == (process.pid, True)
    printed = run("stop", "net", home=folder.parent).stdout
    assert printed == f"net has stopped. Resume it: python -m hpsearch resume net --home {folder.parent}\n"
    assert process.communicate()[0] == "in good order\n"
    assert not is_held(folder)


@pytest.mark.parametrize("kind", ["stubborn", "deaf"])
def test_stop_now_does_not_wait_for_what_runs(folder: Path, driver, kind: str) -> None:
    process = driver(kind)
    run("stop", "--now", home=folder.parent)
    assert process.communicate()[0] == "at once\n"


def test_stop_touches_nothing_where_nothing_runs(folder: Path) -> None:
    (folder / "lock").write_text("pid 1 on nowhere since 2026-01-01 00:00")  # left by a machine that lost power
    assert run("stop", home=folder.parent).stdout == "net is not running.\n"


def test_stop_signals_no_process_of_this_host_for_a_sweep_of_another(folder: Path, driver) -> None:
    process = driver("willing")
    (folder / "lock").write_text(f"pid {process.pid} on another-host since 2026-01-01 00:00")
    with pytest.raises(SweepInUse, match=r"runs on another-host\. Stop it there: python -m hpsearch stop net"):
        run("stop", home=folder.parent)
    assert process.poll() is None


def test_logs_prints_what_a_trial_has_printed(folder: Path) -> None:
    for words in (["1"], ["net", "1"], ["net", "0001", "-f"]):
        assert run("logs", *words, home=folder.parent).stdout == "first \u00e9poch\n"


def test_logs_of_any_length_are_printed_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_and_stop, "PART_BYTES", 3)
    text = "\u00e9poch \u20ac\n" * 50
    (folder / "trials" / "0001" / "log.txt").write_text(text)
    assert run("logs", "1", home=folder.parent).stdout == text


def test_logs_follows_no_link_out_of_the_sweep(folder: Path, tmp_path: Path) -> None:
    log = folder / "trials" / "0001" / "log.txt"
    log.unlink()
    (tmp_path / "mine.txt").write_text("secret")
    log.symlink_to(tmp_path / "mine.txt")
    with pytest.raises(LinkRefused, match=r"log.txt: this is a symbolic link to .*mine.txt"):
        run("logs", "1", home=folder.parent)


def test_logs_follows_a_trial_until_its_sweep_is_over(folder: Path, driver) -> None:
    process = driver("willing")
    command = [sys.executable, "-m", "hpsearch", "logs", "net", "1", "-f", "--home", str(folder.parent)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None and reader.stdout.readline() == "first \u00e9poch\n"
    with (folder / "trials" / "0001" / "log.txt").open("a") as log:
        log.write("second \u00e9poch\n")
    assert reader.stdout.readline() == "second \u00e9poch\n"
    process.kill()
    assert reader.communicate(timeout=PATIENCE_S)[0] == ""
    assert reader.returncode == 0


def test_half_a_letter_is_printed_with_its_other_half(tmp_path: Path, monkeypatch, capsys) -> None:
    log, letter, looks = tmp_path / "log.txt", "\u00e9".encode(), iter([True, False])
    log.write_bytes(letter[:1])

    def may_grow() -> bool:
        if not (goes_on := next(looks)):
            log.write_bytes(letter)
        return goes_on

    monkeypatch.setattr(logs_and_stop, "LOOK_S", 0.0)
    logs_and_stop._print_growing(log, may_grow, follow=True)
    assert capsys.readouterr().out == "\u00e9"


def test_a_trial_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(UnknownSweep, match=r"sweep 'net' has no trial 7\. See `python -m hpsearch show net --home .*`"):
        run("logs", "7", home=folder.parent)
    assert run("logs", "net", "seven", home=folder.parent).exit_code == 2


def test_a_terminal_obeys_nothing_that_a_trial_has_printed() -> None:
    assert terminal_text("50%\r100%\r\n\x1b[2Jdone\tnow\x07") == "50%\n100%\n?[2Jdone\tnow?"
