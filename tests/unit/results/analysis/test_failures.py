"""What failed and why, as a table and on the command line, also with hostile texts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.errors import Cause
from hpsearch.ledger.records import FailureRecord
from hpsearch.ledger.store import Ledger
from hpsearch.results.analysis.failures import (
    MAX_TAIL_BYTES,
    MAX_TAIL_LINES,
    FailedAttempt,
    count_by_cause,
    failed_attempts,
    log_tail,
)
from hpsearch.results.columns import FAILURES
from hpsearch.spec.sweep import Sweep
from tests.support.curves import run

SPEC = Sweep.from_dict(
    {"name": "net", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"values": [1, 2, 3]}}}
).to_dict()
HOSTILE = "\x1b]0;owned\x07\x1b[2J<img src=x onerror=alert(1)> =1+1 \u202e"


def failure(number: int, attempt: int, cause: Cause, *, was_retried: bool) -> FailureRecord:
    evidence = f"{cause} {HOSTILE}"
    return FailureRecord(
        number=number, attempt=attempt, cause=cause, evidence=evidence, place=None, was_retried=was_retried
    )


@pytest.fixture
def sweeps(home: Path) -> Path:
    """Trial 1 was killed once and is done; trial 2 was killed twice and failed; trial 3 failed in an early version."""
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep("net", SPEC)
        rows = [ledger.add_trial(record, number, point={"x": number}, seed=0) for number in (1, 2, 3)]
        ledger.update_trial(rows[0], state="queued", failure=failure(1, 1, "killed", was_retried=True))
        ledger.update_trial(rows[0], state="done", best_value=1.0, best_epoch=1, attempts=2)
        ledger.update_trial(rows[1], state="queued", failure=failure(2, 1, "killed", was_retried=True))
        last = failure(2, 2, "killed", was_retried=False)
        ledger.update_trial(rows[1], state="failed", cause="killed", evidence=last.evidence, failure=last)
        ledger.update_trial(rows[2], state="failed", cause="diverged", evidence="nan")
    log = home / "net" / "trials" / "0002" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(f"first\nlast {HOSTILE}\n")
    return home


def attempts(home: Path) -> list[FailedAttempt]:
    with Ledger(home) as ledger:
        sweep = ledger.sweep()
        return failed_attempts(sweep, ledger.trials(sweep), ledger.failures(sweep), home=home)


def test_every_attempt_that_failed_has_a_row(sweeps: Path):
    frame = Results(sweeps).failures
    assert list(frame.columns) == [column.name for column in FAILURES]
    assert frame[["trial", "attempt", "cause", "class", "was_retried", "state"]].to_numpy().tolist() == [
        [1, 1, "killed", "unknown", True, "done"],
        [2, 1, "killed", "unknown", True, "failed"],
        [2, 2, "killed", "unknown", False, "failed"],
        [3, 1, "diverged", "config", False, "failed"],
    ]
    assert frame["log_tail"][2].splitlines()[0] == "first" and not frame["log_tail"][0]
    assert all(text.isprintable() for text in frame["evidence"])


def test_the_failed_trials_are_those_that_failed_for_good(sweeps: Path):
    failed = Results(sweeps).failed
    assert failed[["trial", "cause"]].to_numpy().tolist() == [[2, "killed"], [3, "diverged"]]


def test_causes_are_counted_by_attempts_and_by_trials(sweeps: Path):
    killed, diverged = count_by_cause(attempts(sweeps))
    assert (killed.cause, killed.attempts, killed.trials, killed.final) == ("killed", 3, 2, 1)
    assert (diverged.cause, diverged.attempts, diverged.trials, diverged.final) == ("diverged", 1, 1, 1)


def test_the_command_line_counts_causes_and_shows_the_end_of_a_log(sweeps: Path):
    printed = CliRunner().invoke(app, ["show", "--failures", "--home", str(sweeps)]).stdout
    assert "killed    unknown         3       2" in printed
    assert f"{sweeps}/net/trials/0002/log.txt" not in printed, "the first that was killed left no log"
    (sweeps / "net" / "trials" / "0001").mkdir()
    (sweeps / "net" / "trials" / "0001" / "log.txt").write_text(f"last {HOSTILE}\n")
    printed = CliRunner().invoke(app, ["show", "--failures", "--home", str(sweeps)]).stdout
    assert "of trial 1 (killed) ends:\n    last ?]0;owned" in printed
    assert all(character.isprintable() or character == "\n" for character in printed)


def test_a_sweep_without_failures_says_so(home: Path):
    run(home, limits={"trials": 2, "epochs": 1})
    assert CliRunner().invoke(app, ["show", "--failures", "--home", str(home)]).stdout == "curves: nothing failed.\n"
    assert json.loads(CliRunner().invoke(app, ["show", "--failures", "--json", "--home", str(home)]).stdout) == []


def test_json_has_the_columns_of_the_table(sweeps: Path):
    rows = json.loads(CliRunner().invoke(app, ["show", "--failures", "--json", "--home", str(sweeps)]).stdout)
    assert len(rows) == 4 and list(rows[0]) == [column.name for column in FAILURES]


def test_one_table_at_a_time(sweeps: Path):
    done = CliRunner().invoke(app, ["show", "--failures", "--epoch", "1", "--home", str(sweeps)])
    assert done.exit_code == 2 and "different tables" in done.stderr


def test_the_end_of_a_log_is_bounded_and_clean(tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"".join(b"line %d \x1b[31m\xff\r\n" % number for number in range(10_000)))
    lines = log_tail(log).splitlines()
    assert len(lines) == MAX_TAIL_LINES and lines[-1] == "line 9999 ?[31m\ufffd"
    log.write_text("x" * 100_000)
    assert len(log_tail(log)) == MAX_TAIL_BYTES
    log.write_text("short")
    assert log_tail(log) == "short"


def test_what_is_no_log_is_not_read(tmp_path: Path):
    secret, link, pipe = tmp_path / "secret", tmp_path / "link", tmp_path / "pipe"
    secret.write_text("secret")
    link.symlink_to(secret)
    os.mkfifo(pipe)
    assert [log_tail(path) for path in (link, pipe, tmp_path, tmp_path / "missing")] == [""] * 4
