"""Finds the priors of a sweep, as its `prior` says: the whole ledger, one of its sweeps, a table, or listed points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hpsearch.errors import Problem, SpecError
from hpsearch.ledger.fingerprint import Code, changed_files, code_of
from hpsearch.ledger.records import ACTIVE_STATES, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger
from hpsearch.paths import ledger_path
from hpsearch.priors.mapping import EarlierTrial, Prior, make_prior
from hpsearch.priors.tables import find_table, looks_like_table, read_table
from hpsearch.space.checks import flattened
from hpsearch.spec.file import trainable_of
from hpsearch.spec.parts import Metric
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted


def find_prior(sweep: Sweep, ledger: Ledger | None, *, code: Code | None, spec_dir: Path | None = None) -> Prior:
    """The priors of a sweep, as its `prior` says.

    Args:
        sweep: A sweep of its name in the ledger is ignored.
        ledger: Has the earlier sweeps; None if there is no ledger.
        code: The trainable's source; None if it can't be read, and then `auto` finds nothing.
        spec_dir: The spec's folder, to which the path of a table may be relative.

    Raises:
        SpecError: The table or a point can't be used, or the named sweep has another metric or goal.
        UnknownSweep: The ledger has no sweep of that name.
    """
    prior = sweep.prior
    if isinstance(prior, Mapping):
        return make_prior(_by_hand(prior["points"], sweep), sweep)
    if prior == "none":
        return Prior()
    if prior == "auto":
        return _of_ledger(sweep, ledger, code)
    if looks_like_table(prior):
        return make_prior(read_table(find_table(prior, spec_dir), space=sweep.space, metric=sweep.metric), sweep)
    if ledger is None:
        message = (
            f"there is no ledger with a sweep '{prior}'. Name its folder with --home, or a file that ends in .csv."
        )
        raise SpecError([Problem(where=("prior",), message=message)])
    return make_prior(_of_sweep(ledger, _with_metric(ledger.sweep(prior), sweep.metric)), sweep)


def describe_prior(sweep: Sweep, prior: Prior | None, ledger: Ledger | None, *, code: Code | None) -> str | None:
    """What a plan shows about priors, in one sentence; None if there is nothing to show.

    Args:
        sweep: The planned sweep.
        prior: Its priors; None if it has none, and then the sentence says what `--prior auto` would find.
        ledger: Has the earlier sweeps; None if there is no ledger.
        code: The trainable's source.
    """
    if prior is not None:
        last = "" if sweep.method == "grid" else " and tries their points last"
        return f"prior: {prior}" + ("" if sweep.learns else f"; {sweep.method} learns from failed ones alone{last}")
    found = len(_of_ledger(sweep, ledger, code, with_curves=False).outcomes) if sweep.learns else 0
    return f"{counted(found, 'earlier trial')} {'fits' if found == 1 else 'fit'}: --prior auto" if found else None


def plan_prior(sweep: Sweep, home: Path, *, spec_dir: Path | None) -> tuple[Prior | None, str | None]:
    """(The priors of a sweep that is not started, None if it has none; `describe_prior` of them).

    Reads the ledger of `home` if there is one.

    Raises:
        SpecError, UnknownSweep: As `find_prior`.
        LedgerError: The ledger can't be read.
    """
    code = None if sweep.trainable is None else code_of(trainable_of(sweep, spec_dir=spec_dir))
    with Ledger(home) if ledger_path(home).exists() else nullcontext() as ledger:
        prior = None if sweep.prior == "none" else find_prior(sweep, ledger, code=code, spec_dir=spec_dir)
        return prior, describe_prior(sweep, prior, ledger, code=code)


def _of_ledger(sweep: Sweep, ledger: Ledger | None, code: Code | None, *, with_curves: bool = True) -> Prior:
    """All trials of the same code on the same data for the same metric.

    Trials of another version of the code are left out, since other results may be possible now; a user who wants
    them all the same names the sweep. Of a trial that is in several sweeps, the one with the most epochs counts.

    Args:
        sweep: Not in the ledger yet.
        ledger: Has the earlier sweeps; None if there is no ledger.
        code: The trainable's source; None if it can't be read.
        with_curves: False to read no curves, which is enough to count trials.
    """
    earlier: dict[str, EarlierTrial] = {}
    left_out: dict[str, int] = {}
    for record in ledger.sweeps() if ledger is not None else ():
        if record.name == sweep.name or not _is_alike(record, sweep):
            continue
        assert ledger is not None
        if code is None or record.code is None or changed_files(record.code, code):
            if record.spec["trainable"] == sweep.trainable:
                reason = f"the code of '{record.name}' has changed since; --prior {record.name} uses them anyway"
                left_out[reason] = len(ledger.trials(record))
            continue
        for key, each in _keyed(ledger, record, with_curves=with_curves):
            if key not in earlier or len(earlier[key].losses) < len(each.losses):
                earlier.pop(key, None)
                earlier[key] = each
    return make_prior(earlier.values(), sweep, left_out=left_out)


def _is_alike(record: SweepRecord, sweep: Sweep) -> bool:
    spec = record.spec
    return bool(spec["metric"] == sweep.metric.model_dump() and spec["data"] == sweep.data)


def _with_metric(record: SweepRecord, metric: Metric) -> SweepRecord:
    if record.spec["metric"] != metric.model_dump():
        there = f"{record.spec['metric']['goal']} {record.metric}"
        message = (
            f"sweep '{record.name}' had to {there}, this one to {metric.goal} {metric.name}. Choose another sweep."
        )
        raise SpecError([Problem(where=("prior",), message=message)])
    return record


def _of_sweep(ledger: Ledger, record: SweepRecord) -> list[EarlierTrial]:
    return [each for _, each in _keyed(ledger, record)]


def _keyed(ledger: Ledger, record: SweepRecord, *, with_curves: bool = True) -> Iterable[tuple[str, EarlierTrial]]:
    """The trials of a sweep by fingerprint, else by number; without curves, each has its best epoch alone."""
    curves: dict[int, dict[int, float]] = {}
    for report in ledger.reports(record) if with_curves else ():
        curves.setdefault(report.number, {})[report.epoch] = record.sign * report.metrics[record.metric]
    for trial in ledger.trials(record):
        best = {trial.best_epoch or 1: record.sign * trial.best_value} if trial.best_value is not None else {}
        earlier = _outcome(record, trial, curves.get(trial.number, {}) if with_curves else best)
        if earlier is not None:
            yield trial.fingerprint or f"{record.name}/{trial.number}", earlier


def _outcome(record: SweepRecord, trial: TrialRecord, losses: Mapping[int, float]) -> EarlierTrial | None:
    """How a trial ended; None if it is active, or failed for a reason other than its configuration."""
    if trial.state == "failed":
        if not trial.failed_by_config:
            return None
        return EarlierTrial(source=record.name, point=trial.point, state="infeasible", losses=losses)
    if trial.state in ACTIVE_STATES or not losses:
        return None
    is_whole = trial.state == "done" or (
        trial.state == "reused" and trial.epochs_trained == record.spec["limits"]["epochs"]
    )
    return EarlierTrial(source=record.name, point=trial.point, state="done" if is_whole else "stopped", losses=losses)


def _by_hand(points: Iterable[Mapping[str, Any]], sweep: Sweep) -> Iterable[EarlierTrial]:
    """The points of a spec, each with the metric's value, a list of values by epoch, or null if it can't be trained."""
    metric = sweep.metric
    for entry in points:
        point = {".".join(path): value for path, value in flattened(entry, (), sweep.space) if path != (metric.name,)}
        value = entry[metric.name]
        values = [] if value is None else value if isinstance(value, list) else [value]
        losses = {epoch: metric.sign * float(each) for epoch, each in enumerate(values, start=1)}
        yield EarlierTrial(source="the spec", point=point, state="done" if losses else "infeasible", losses=losses)
