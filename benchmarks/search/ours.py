"""hpsearch itself: the production engine with its searcher and stopping rule, and a ledger that stores nothing."""

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
    """A ledger that discards what the engine writes, because a commit would take longer than everything else here."""

    home = Path("no-home")
    """Home folder, in which the engine looks for checkpoints; there are none."""

    def __init__(self) -> None:
        self._rows = 0

    def add_trial(self, *args: object, **values: object) -> int:
        """Return a new key."""
        self._rows += 1
        return self._rows

    def transaction(self) -> AbstractContextManager[None]:
        """Return a context manager without effect."""
        return nullcontext()

    def __getattr__(self, name: str) -> Any:
        """Return a method without effect, for all other writes."""
        return lambda *args, **values: None


class Ours(Contestant):
    """A sweep of hpsearch.

    Args:
        table: The table that is searched.
        seed: Seed of the sweep.
        workers: Number of trials that train at the same time.
        trials: Limit of trials, higher than any simulation reaches.
        spec: The rest of the spec: method, sampler, early_terminate.
    """

    def __init__(self, table: Table, *, seed: int, workers: int, trials: int, spec: Mapping[str, Any]) -> None:
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
        """Report an epoch with a checkpoint, as a slot does; a loss that is not finite is a failure."""
        if not math.isfinite(loss):
            self.engine.on_event(trial, Failed(cause="diverged", evidence="the loss is not finite"))
            return False
        report = Report(epoch=epoch, metrics={"loss": loss}, elapsed_s=float(epoch), checkpoint_epoch=epoch)
        return self.engine.on_event(trial, report) is Verdict.CONTINUE
