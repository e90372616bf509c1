"""Random histories of a ledger with two sweeps, and random damage to its files."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from hpsearch.driver.write_results import write_tables_of
from hpsearch.ledger.records import FailureRecord, TrialState
from hpsearch.ledger.store import Ledger, now
from hpsearch.spec.sweep import Sweep

SPEC = Sweep.from_dict(
    {
        "trainable": "train.py:train",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}, "depth": {"values": [20, 32, 44]}, "seed": 3},
        "limits": {"epochs": 9},
    }
).to_dict()


class History:
    """One sweep that lives by dice: trials begin, report, pause, fail, are retried, are extended, lose checkpoints."""

    def __init__(self, ledger: Ledger, name: str, dice: random.Random) -> None:
        self.ledger, self.dice = ledger, dice
        self.sweep = ledger.add_sweep(name, SPEC, code={"f": "1"})
        self.rows: dict[int, int] = {}
        self.states: dict[int, TrialState] = {}
        self.reports: dict[int, list[float]] = {}
        self.attempts: dict[int, int] = {}

    def step(self) -> None:
        """One change, of which each is possible at any time in the life of a real sweep."""
        number = self.dice.choice([*self.rows, len(self.rows) + 1])
        if number not in self.rows:
            self._begin(number)
        elif self.states[number] == "running":
            self.dice.choice([self._report] * 4 + [self._end, self._end, self._fail, self._note_code])(number)
        elif self.states[number] == "failed":
            self._retry(number)
        elif self.dice.random() < 0.3:
            self._continue(number)
        elif self.dice.random() < 0.2:
            self.ledger.clear_checkpoints([self.rows[number]])
        elif self.dice.random() < 0.1:
            self.ledger.end_sweep(self.sweep, "done")
            self.ledger.reopen_sweep(self.sweep, SPEC | {"notes": {"run": self.dice.random()}}, code={"f": "1"})

    def write_tables(self) -> None:
        """The tables as they are at the end of a run."""
        write_tables_of(self.ledger.home, self.sweep.name)

    def _begin(self, number: int) -> None:
        point = {"x": self.dice.random(), "depth": self.dice.choice([20, 32, 44]), "seed": 3}
        row = self.ledger.add_trial(self.sweep, number, point=point, seed=0, fingerprint=f"f{number}", code="a")
        self.rows[number] = row
        self.states[number], self.reports[number], self.attempts[number] = "running", [], 1

    def _report(self, number: int) -> None:
        self.reports[number].append(self.dice.random())
        epoch = len(self.reports[number])
        metrics = {"loss": self.reports[number][-1], "more": self.dice.random()}
        self.ledger.add_report(self.rows[number], epoch=epoch, metrics=metrics, elapsed_s=epoch + self.dice.random())

    def _end(self, number: int) -> None:
        state: TrialState = self.dice.choice(["done", "stopped", "paused", "interrupted"])
        self._close(number, state)

    def _fail(self, number: int) -> None:
        is_retried = self.dice.random() < 0.5
        failure = FailureRecord(
            number=number,
            attempt=self.attempts[number],
            cause="killed",
            evidence="gone",
            place=None,
            was_retried=is_retried,
        )
        if not is_retried:
            self._close(number, "failed", failure=failure, cause="killed", evidence="gone")
            return
        self.ledger.update_trial(self.rows[number], failure=failure, state="queued", evidence="gone")
        self.attempts[number] += 1
        self.ledger.update_trial(self.rows[number], state="running", attempts=self.attempts[number], evidence=None)

    def _close(self, number: int, state: TrialState, **more: Any) -> None:
        losses = self.reports[number]
        self.states[number] = state
        self.ledger.update_trial(
            self.rows[number],
            state=state,
            epochs_trained=len(losses),
            best_value=min(losses, default=None),
            best_epoch=losses.index(min(losses)) + 1 if losses else None,
            last_metrics={"loss": losses[-1]} if losses else {},
            ended_at=now(),
            duration_s=self.dice.random(),
            attempts=self.attempts[number],
            **more,
        )

    def _note_code(self, number: int) -> None:
        self.ledger.update_trial(self.rows[number], code="a, b", fingerprint=None)

    def _retry(self, number: int) -> None:
        self.ledger.reset_failures([self.rows[number]])
        self.attempts[number] += 1
        self._continue(number)

    def _continue(self, number: int) -> None:
        self.states[number] = "running"
        self.ledger.update_trial(
            self.rows[number], state="running", cause=None, evidence=None, ended_at=None, attempts=self.attempts[number]
        )


def live(home: Path, dice: random.Random, *, steps: int = 60) -> None:
    """Write a random history of two sweeps; the process ends well, or is killed with commits in the log alone."""
    working = home.with_name(f"{home.name}-working")
    ticks = iter(range(10**9))
    with Ledger(working, create=True, clock=lambda: next(ticks) * 0.05) as ledger:
        gone = ledger.add_sweep("gone", SPEC)
        ledger.add_trial(gone, 1, point={"x": 0.5, "depth": 20, "seed": 3}, seed=0)
        ledger.forget_sweep(gone)
        sweeps = [History(ledger, name, dice) for name in ("a", "b")]
        for _ in range(steps):
            dice.choice(sweeps).step()
            if dice.random() < 0.03:
                dice.choice(sweeps).write_tables()
        ledger.flush()
        if dice.random() < 0.5:
            shutil.copytree(working, home)
    if not home.exists():
        shutil.copytree(working, home)


def damage(path: Path, dice: random.Random) -> None:
    """Cut, flip, blank or remove a file at a random place."""
    content = bytearray(path.read_bytes())
    place = dice.randrange(max(len(content), 1))
    flipped = bytes([content[place] ^ 1 << dice.randrange(8)]) if content else b""
    blank = bytes(len(content[place : place + 200]))
    kind = dice.choice(["removed", "cut", "blank", "flip", "flip", "flip"])
    if kind == "removed":
        path.unlink()
        return
    middle = {"cut": b"", "blank": blank, "flip": flipped}[kind]
    path.write_bytes(content[:place] + middle + (b"" if kind == "cut" else content[place + len(middle) :]))
