"""The independent checker: what FAULTS promises over all faults, read off files and the process table alone.

Nothing of hpsearch is imported here: the ledger is read by sqlite3, tables by csv, processes off /proc.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.waiting import becomes_true

FINAL_STATES = ("done", "stopped", "failed", "reused")
MARK = "HPSEARCH_FAULT_MARK"
"""Environment variable that every process of a sweep under test inherits."""
AGENTS = ("DashboardAgent", "RuntimeEnvAgent")
"""Ray's own agents, counted apart: after a kill -9 of the driver they wait a minute for a GCS that is gone."""


@dataclass(frozen=True)
class Row:
    """One trial as the ledger has it."""

    number: int
    state: str
    point: dict[str, Any]
    fingerprint: str | None
    epochs: int
    best_value: float | None
    best_epoch: int | None
    last_metrics: dict[str, float]
    reused_from: str | None

    @property
    def numbers(self) -> tuple[Any, ...]:
        """What an acknowledgement promises."""
        return (
            self.state, json.dumps(self.point, sort_keys=True), self.epochs, self.best_value, self.best_epoch,
            json.dumps(self.last_metrics, sort_keys=True),
        )  # fmt: skip


@dataclass(frozen=True)
class Acknowledged:
    """A trial that was seen as finished, and how long the diary was then."""

    row: Row
    diary_lines: int


@dataclass
class Figures:
    """What was counted."""

    finished_lost: int = 0
    trained_twice: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """A broken promise."""
        self.problems.append(problem)


@dataclass
class Watch:
    """Looks at one sweep again and again, also while it runs."""

    home: Path
    name: str
    diary: Path
    max_repeat: int = 10**9
    """Epochs that one interruption may cost a trial."""
    acknowledged: dict[int, Acknowledged] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    looks: int = 0

    def look(self) -> None:
        """Read all tables; remember what is finished, compare with what was."""
        self.looks += 1
        rows = self.rows()
        lines = len(self.diary_lines())
        self._read_csv()
        for row in rows:
            before = self.acknowledged.get(row.number)
            if before is not None:
                self._compare(before, row)
            elif row.state in FINAL_STATES:
                self.acknowledged[row.number] = Acknowledged(row, lines)
        for number in self.acknowledged.keys() - {row.number for row in rows}:
            self.figures.finished_lost += 1
            self.figures.add(f"trial {number} was finished and is gone")

    def check_end(self, *, interruptions: int, state: str = "done") -> None:
        """Everything that must hold once the sweep is over."""
        self.look()
        rows = self.rows()
        self._require(self._sweep_state() == state, f"the sweep is {self._sweep_state()}, not {state}")
        for row in rows:
            self._require(row.state in FINAL_STATES, f"trial {row.number} is still {row.state}")
            self._check_epochs(row)
        self._check_diary(rows, interruptions)
        self._check_fingerprints(rows)
        self._check_csv_is_the_ledger(rows)
        self._check_lock()

    def rows(self) -> list[Row]:
        """All trials of the sweep by number; none before the ledger is there."""
        found = self._query(
            "SELECT number, trials.state, point, fingerprint, epochs_trained, best_value, best_epoch, last_metrics,"
            " reused_from FROM trials JOIN sweeps ON sweeps.id = sweep_id WHERE name = ? ORDER BY number"
        )
        return [
            Row(number, state, json.loads(point), key, epochs, best, best_epoch, json.loads(metrics or "{}"), source)
            for number, state, point, key, epochs, best, best_epoch, metrics, source in found
        ]

    def reports(self) -> dict[int, list[tuple[int, dict[str, float]]]]:
        """Trial to its (epoch, metrics) in the order in which they came."""
        found: dict[int, list[tuple[int, dict[str, float]]]] = {}
        for number, epoch, metrics in self._query(
            "SELECT number, epoch, metrics FROM reports JOIN trials ON trials.id = trial_id"
            " JOIN sweeps ON sweeps.id = sweep_id WHERE name = ? ORDER BY reports.id"
        ):
            found.setdefault(number, []).append((epoch, json.loads(metrics)))
        return found

    def diary_lines(self) -> list[tuple[int, str, int]]:
        """(trial, "begin" or "epoch", epoch), in order."""
        if not self.diary.exists():
            return []
        words = [line.split() for line in self.diary.read_text().splitlines()]
        return [(int(number), kind, int(epoch)) for number, kind, epoch in words]

    def _query(self, text: str) -> list[Any]:
        path = self.home / "ledger.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(text, (self.name,)).fetchall()

    def _sweep_state(self) -> str | None:
        found = self._query("SELECT state FROM sweeps WHERE name = ?")
        return found[0][0] if found else None

    def _require(self, holds: bool, problem: str) -> None:
        if not holds:
            self.figures.add(problem)

    def _compare(self, before: Acknowledged, row: Row) -> None:
        if before.row.numbers != row.numbers:
            self.figures.finished_lost += 1
            self.figures.add(f"trial {row.number} was {before.row.numbers} and is {row.numbers}")

    def _check_epochs(self, row: Row) -> None:
        reports = self.reports().get(row.number, [])
        epochs = [epoch for epoch, _ in reports]
        self._require(
            epochs == list(range(1, row.epochs + 1)), f"trial {row.number}: epochs {epochs}, trained {row.epochs}"
        )
        for epoch, metrics in reports:
            expected = row.point["x"] + 1 / epoch
            self._require(metrics["loss"] == expected, f"trial {row.number} epoch {epoch}: loss {metrics['loss']}")
            self._require(
                metrics.get("carried", epoch) == epoch, f"trial {row.number} epoch {epoch}: its state is of another one"
            )

    def _check_diary(self, rows: list[Row], interruptions: int) -> None:
        lines = self.diary_lines()
        for number, acknowledged in self.acknowledged.items():
            later = [line for line in lines[acknowledged.diary_lines :] if line[0] == number and line[1] == "epoch"]
            if later:
                self.figures.trained_twice += 1
                self.figures.add(f"trial {number} was finished and trained {later}")
        for row in rows:
            own = [(kind, epoch) for number, kind, epoch in lines if number == row.number]
            self._check_stretches(row, own, interruptions)

    def _check_stretches(self, row: Row, own: list[tuple[str, int]], interruptions: int) -> None:
        """No gap, and what an attempt repeats is one stretch that begins at its checkpoint."""
        for (_, before), (kind, epoch) in pairwise(own):
            if kind == "epoch":
                self._require(epoch == before + 1, f"trial {row.number}: epoch {epoch} was trained after {before}")
            else:
                self._require(
                    before - self.max_repeat <= epoch <= before,
                    f"trial {row.number}: an attempt began at {epoch}, the one before got to {before}",
                )
        trained = Counter(epoch for kind, epoch in own if kind == "epoch")
        most = max(trained.values(), default=0)
        self._require(most <= 1 + interruptions, f"trial {row.number}: an epoch was trained {most} times")

    def _check_fingerprints(self, rows: list[Row]) -> None:
        trained_to: dict[int, int] = {}
        for number, kind, epoch in self.diary_lines():
            if kind == "epoch":
                trained_to[number] = max(epoch, trained_to.get(number, 0))
        complete = Counter(
            row.fingerprint
            for row in rows
            if row.fingerprint and row.state in ("done", "reused") and trained_to.get(row.number) == row.epochs
        )
        for fingerprint, times in complete.items():
            if times > 1:
                self.figures.trained_twice += 1
                self.figures.add(f"fingerprint {fingerprint} was trained to its end {times} times")

    def _read_csv(self) -> list[dict[str, str]]:
        path = self.home / self.name / "trials.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            head, *body = list(csv.reader(file))
        self._require(
            bool(head) and all(len(line) == len(head) for line in body), f"trials.csv is torn: {head}, {body}"
        )
        return [dict(zip(head, line, strict=False)) for line in body]

    def _check_csv_is_the_ledger(self, rows: list[Row]) -> None:
        table = [(int(line["trial"]), line["state"], int(line["epochs_trained"])) for line in self._read_csv()]
        expected = [(row.number, row.state, row.epochs) for row in rows]
        self._require(table == expected, f"trials.csv has {table}, the ledger {expected}")

    def _check_lock(self) -> None:
        path = self.home / self.name / "lock"
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.figures.add("the sweep's lock is still held")


class Reader:
    """Looks all the time, from a thread of its own: the tables are to be read at every instant."""

    def __init__(self, watch: Watch, *, every_s: float = 0.05) -> None:
        self._watch, self._every_s = watch, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._watch.look()
            except Exception as error:
                self._watch.figures.add(f"the tables could not be read: {type(error).__name__}: {error}")
                return


def processes_of(mark: str, *, agents: bool = False) -> dict[int, str]:
    """Process id to command line of every living process that carries the mark.

    Args:
        mark: Value of MARK in the environment of the sweep.
        agents: Whether it is Ray's agents that are listed, or all others.
    """
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if state not in "ZX" and any(name in command for name in AGENTS) is agents:
            found[int(folder.name)] = command
    return found


def wait_until_gone(mark: str, *, within_s: float, agents: bool = False) -> dict[int, str]:
    """What is still alive of the marked processes after that time; empty as soon as none is."""
    becomes_true(lambda: not processes_of(mark, agents=agents), within_s=within_s)
    return processes_of(mark, agents=agents)
