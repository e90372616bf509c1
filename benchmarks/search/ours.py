"""hpsearch itself: the production engine with its searcher and its stopping rule; only the ledger keeps nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.search.simulator import Contestant, Job
from benchmarks.search.tables import Table
from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.ledger.records import SweepRecord
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Failed, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule


class NoLedger:
    """Takes what an engine writes and keeps nothing: a commit costs more than all else here."""

    home = Path("no-home")
    """Of checkpoints, which a table has none of."""

    def __init__(self) -> None:
        self._rows = 0

    def add_trial(self, *args: object, **values: object) -> int:
        """A new key."""
        self._rows += 1
        return self._rows

    def transaction(self) -> AbstractContextManager[None]:
        """One commit."""
        return nullcontext()

    def __getattr__(self, name: str) -> Any:
        """Any other write."""
        return lambda *args, **values: None


class Ours(Contestant):
    """One sweep."""

    def __init__(self, table: Table, *, seed: int, workers: int, trials: int, spec: Mapping[str, Any]) -> None:
        """A sweep of a table.

        Args:
            table: What is searched.
            seed: Of the sweep.
            workers: Trials at once.
            trials: No simulation gets as far as that.
            spec: The rest of the spec: method, sampler, early_terminate.
        """
        tree = {
            "name": "bench",
            "trainable": "table:train",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {key: dict(domain) for key, domain in table.parameters.items()},
            "limits": {"trials": trials, "epochs": table.max_epochs, "concurrent": workers},
            "seed": seed,
            **spec,
        }
        self._sweep = Sweep.from_dict(tree)
        record = SweepRecord(
            id=1, name="bench", state="running", reason=None, spec=tree, folder="bench", spec_dir=None, code=None,
            started_at="", ended_at=None,
        )  # fmt: skip
        searcher = make_searcher(self._sweep)
        self.engine = Engine.new(
            EngineParts(
                sweep=self._sweep,
                searcher=searcher,
                rule=make_stopping_rule(self._sweep, can_pause=True, is_random=searcher.is_random),
                ledger=NoLedger(),  # type: ignore[arg-type]
                record=record,
                concurrent=workers,
            )
        )

    def next_job(self) -> Job | None:
        """The engine's next assignment."""
        assignment = self.engine.next_assignment()
        if not isinstance(assignment, Assignment):
            return None
        return Job(trial=assignment.number, point=assignment.config, epochs=assignment.known_epochs)

    def on_report(self, trial: int, epoch: int, loss: float) -> bool:
        """As a slot tells it: a loss that is not finite is a failure; every epoch has its checkpoint."""
        if not math.isfinite(loss):
            self.engine.on_event(trial, Failed(cause="diverged", evidence="the loss is not finite"))
            return False
        report = Report(epoch=epoch, metrics={"loss": loss}, elapsed_s=float(epoch), checkpoint_epoch=epoch)
        return self.engine.on_event(trial, report) is Verdict.CONTINUE
