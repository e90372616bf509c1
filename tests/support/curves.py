"""A sweep whose trials are formulas: the real engine, searcher, rule and ledger, no Ray and no training.

For everything that reads a sweep. A `Landscape` says what a trial reports at an epoch and which configurations fail;
`run` puts the sweep into a ledger, whole, or as it stands after so many reports.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.engine.engine import Engine, EngineParts, Idle
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Event, Failed, Report, Verdict
from hpsearch.spec.file import dump_yaml
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule

EPOCH_S = 2.0
"""Seconds that an epoch takes, as the reports tell."""

SPEC: dict[str, Any] = {
    "name": "curves",
    "trainable": "train.py:train",
    "metric": {"name": "val_loss", "goal": "minimize"},
    "method": "random",
    "parameters": {
        "lr": {"min": 1e-4, "max": 1.0, "log": True},
        "width": {"values": [16, 32, 64, 128]},
        "optimizer": {"values": ["sgd", "adamw"]},
        "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
        "batch_size": {"values": [64, 128, 256, 512]},
        "classes": 10,
    },
    "early_terminate": {"type": "asha", "min_iter": 1, "eta": 3},
    "limits": {"trials": 64, "epochs": 27, "concurrent": 4},
    "seed": 0,
}
"""64 trials under ASHA. By `losses`: lr matters most, then width, then optimizer; momentum and batch_size hardly."""


def losses(config: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """A loss that falls with the epochs towards a floor that the configuration has."""
    noise = random.Random(f"{sorted(config.items(), key=str)} {epoch}").uniform(-0.02, 0.02)
    floor = 0.1 + 0.4 * (math.log10(config["lr"]) + 2) ** 2 + 0.3 * (1 - config["width"] / 128)
    floor += 0.1 * (config["optimizer"] == "sgd") + 0.02 * abs(config.get("momentum", 0.9) - 0.9)
    value = floor + 1.5 / epoch + noise
    return {"val_loss": value, "val_accuracy": math.exp(-value), "epoch_time": EPOCH_S}


def out_of_memory(config: Mapping[str, Any]) -> Failed | None:
    """Wide nets with large batches don't fit."""
    if config["width"] * config["batch_size"] < 128 * 512:
        return None
    evidence = f"batch_size {config['batch_size']} needs about 9.1 GiB on GPU 1, 6.0 GiB were free"
    return Failed(cause="oom_gpu", evidence=evidence, elapsed_s=1.0)


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """What training would have been like."""

    report: Callable[[Mapping[str, Any], int], dict[str, float]] = losses
    """Metrics of a configuration at an epoch."""
    failure: Callable[[Mapping[str, Any]], Failed | None] = out_of_memory
    """How a configuration fails before its first report; None if it does not."""


def run(
    home: Path,
    *,
    landscape: Landscape | None = None,
    max_reports: int | None = None,
    printed: str = "",
    **keys: Any,
) -> str:
    """Put a sweep into the ledger of `home`.

    Args:
        home: Folder of the ledger; made if there is none.
        landscape: What training is like.
        max_reports: Leave off after so many reports, as a killed driver would; None to go to the end.
        printed: Goes into the log of every trial.
        keys: Top-level keys of the spec, instead of those of `SPEC`.

    Returns:
        The sweep's name.
    """
    sweep = Sweep.from_dict({**SPEC, **keys})
    assert sweep.name is not None
    with Ledger(home, create=True) as ledger:
        record = ledger.add_sweep(sweep.name, sweep.to_dict(), spec_dir=home, code={"train.py": "1"})
        searcher = make_searcher(sweep)
        engine = Engine.new(
            EngineParts(
                sweep=sweep,
                searcher=searcher,
                rule=make_stopping_rule(sweep, can_pause=True, is_random=searcher.is_random),
                ledger=ledger,
                record=record,
                cache=TrialCache(ledger, sweep, record, code={"train.py": "1"}),
            )
        )
        engine.concurrent = sweep.limits.concurrent if isinstance(sweep.limits.concurrent, int) else 4
        folder = home / record.folder
        (folder / "trials").mkdir(parents=True)
        (folder / "sweep.yaml").write_text(dump_yaml(sweep.to_dict()))
        _train(engine, landscape or Landscape(), folder, printed, max_reports)
    return sweep.name


def _train(engine: Engine, landscape: Landscape, folder: Path, printed: str, max_reports: int | None) -> None:
    """All slots in turn, one report each."""
    assignments: dict[int, tuple[Assignment, int]] = {}
    num_reports = 0
    while True:
        while isinstance(assignment := engine.next_assignment(), Assignment):
            assignments[assignment.number] = (assignment, assignment.known_epochs)
            log = folder / "trials" / f"{assignment.number:04d}" / "log.txt"
            log.parent.mkdir(exist_ok=True)
            log.write_text(printed or f"trial {assignment.number} begins\n")
        if not assignments and assignment is not Idle.NOT_NOW:
            engine.finish()
            return
        for number, (assignment, epoch) in sorted(assignments.items()):
            if num_reports == max_reports:
                return  # the ledger is closed, and has them
            event = _event(landscape, engine.sweep, assignment.config, epoch)
            num_reports += isinstance(event, Report)
            assignments[number] = (assignment, epoch + 1)
            if engine.on_event(number, event) is not Verdict.CONTINUE:
                del assignments[number]


def _event(landscape: Landscape, sweep: Sweep, config: Mapping[str, Any], epoch: int) -> Event:
    if epoch == 0 and (failure := landscape.failure(config)) is not None:
        return failure
    if epoch >= (sweep.max_epochs or 0):
        return Ended(elapsed_s=EPOCH_S * epoch, checkpoint_epoch=epoch)
    epoch += 1
    metrics = landscape.report(config, epoch)
    return Report(epoch=epoch, metrics=metrics, elapsed_s=EPOCH_S * epoch, checkpoint_epoch=epoch)
