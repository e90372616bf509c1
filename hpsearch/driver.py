"""Runs a sweep, or goes on with one: what `hpsearch.run` and the running verbs call."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from hpsearch.dialect_ray import holds_ray_words
from hpsearch.dialects import translate
from hpsearch.engine import Engine
from hpsearch.errors import Problem, SpecError, SweepExists, in_short
from hpsearch.ledger.file import FILE_NAME, check_whole, storage_errors
from hpsearch.ledger.fingerprint import Code, code_of
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.memory import Memory
from hpsearch.ledger.rebuild import check_agrees
from hpsearch.ledger.records import SUCCESS_STATES, ReportRecord, SweepRecord, TrialRecord
from hpsearch.ledger.spec_place import find_spec_dir
from hpsearch.ledger.store import Ledger
from hpsearch.priors.fitting import Prior
from hpsearch.priors.kept import load_prior, save_prior
from hpsearch.priors.sources import describe, find_prior
from hpsearch.provenance import append_provenance, take_provenance
from hpsearch.quiet import quiet
from hpsearch.replay import uncollected
from hpsearch.results.results import Results
from hpsearch.results.written import are_up_to_date
from hpsearch.retention import Checkpoints
from hpsearch.same_sweep import check_folder_is_free, check_same, is_finished
from hpsearch.search import Searcher, make_searcher
from hpsearch.session import Session, Show
from hpsearch.specfile import dump_yaml, find_spec, load_sweep
from hpsearch.stopping import make_stopping_rule
from hpsearch.sweep import NAME_PATTERN, Sweep
from hpsearch.trainable import TrainableSource, locate

Trainable = Callable[[dict[str, Any]], Any]
DEFAULT_HOME = "sweeps"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sweep, ready to run, or to go on where it was."""

    sweep: Sweep
    """Checked, with a name."""
    home: Path
    """Folder of the ledger."""
    function: Trainable | None = None
    """The trainable, where the sweep does not name it."""
    spec_dir: Path | None = None
    """The spec's folder, where a trainable's file may be."""
    again: bool = False
    """Train everything, whatever the ledger knows of other sweeps."""
    accept_changes: bool = False
    """Go on although the code is not what it was when the sweep began."""
    retry_failed: bool = False
    """Try failed trials again, as if for the first time."""
    show: Show = "auto"
    """What is shown while it runs."""
    num_gpus: int | None = None
    """GPUs that a local Ray believes in; None for the real ones. For tests."""

    def start(self) -> tuple[Results, int]:
        """Run the sweep to its end; one that is in the ledger goes on, without Ray if nothing is left to do.

        Returns:
            The results, and the exit code: 0 at least one trial succeeded, 1 none did or the sweep gave up, 130 and 143
            it was interrupted.

        Raises:
            SpecError: The trainable can't be imported, or the request can never be met.
            SweepExists: The ledger has a sweep of this name with another spec.
            SweepInUse: Another process runs it.
            LedgerError: The storage can't be used.
            Interrupted: A signal came before the first trial began.
        """
        name = self.sweep.name
        assert name is not None
        if name.startswith(FILE_NAME):
            raise SpecError([Problem(where=("name",), message=f"'{name}' is the ledger's own file. Choose another.")])
        trainable = self.function or _locate(self.sweep, self.spec_dir)
        folder = self.home / name
        with Ledger(self.home, create=True) as ledger:
            with storage_errors(folder):
                folder.mkdir(exist_ok=True)
            with writer_lock(folder, name):
                check_whole(ledger.path)
                code = code_of(trainable)
                known = ledger.find_sweep(name)
                if known is not None:
                    check_same(known, self.sweep, code, accept_changes=self.accept_changes)
                exit_code = None
                if known is None or self.retry_failed or not is_finished(known, self.sweep, ledger):
                    exit_code = self._go_on(ledger, folder, trainable, code, known)
                else:
                    with uncollected():
                        _check_journal(ledger, folder, known)
                results = Results(self.home, name)
                if not are_up_to_date(folder):
                    _write(results, ledger)
                return results, _exit_code(ledger, name) if exit_code is None else exit_code

    def _go_on(
        self,
        ledger: Ledger,
        folder: Path,
        trainable: TrainableSource | Trainable,
        code: Code | None,
        known: SweepRecord | None,
    ) -> int | None:
        """Train what is left, if anything is; the exit code after a signal, else None."""
        engine = self._engine(ledger, folder, code, known)
        num_known = len(engine.trials)
        has_work = engine.find_work()
        is_news = len(engine.trials) > num_known or (engine.record.reason is None and engine.exhaustion())
        if not has_work and not is_news and engine.record.state not in ("running", "interrupted"):
            return None
        ledger.reopen_sweep(engine.record, self.sweep.to_dict(), spec_dir=self.spec_dir, code=code)
        self._write_spec(folder)
        with storage_errors(folder):
            append_provenance(folder, take_provenance(self.spec_dir))
        if has_work:
            return self._run(engine, ledger, folder, trainable, num_known=None if known is None else num_known)
        engine.finish()  # the ledger answered it all, or it was killed between its last trial and its end
        return None

    def with_free_name(self) -> Run:
        """The same under the first of its name, name-2, name-3, ... that is free, or is this very sweep."""
        if not (self.home / FILE_NAME).exists():
            return self
        code = code_of(self.function or _locate(self.sweep, self.spec_dir))
        with Ledger(self.home) as ledger:
            known = {record.name: record for record in ledger.sweeps()}
        for number in count(1):
            sweep = self.sweep if number == 1 else self.sweep.with_values(name=f"{self.sweep.name}-{number}")
            record = known.get(sweep.name or "")
            with suppress(SweepExists):
                if record is not None:
                    check_same(record, sweep, code, accept_changes=self.accept_changes)
                return replace(self, sweep=sweep)
        raise AssertionError("there is no end of numbers")

    def _engine(self, ledger: Ledger, folder: Path, code: Code | None, known: SweepRecord | None) -> Engine:
        """The engine, its past replayed if there is one."""
        sweep, name = self.sweep, folder.name
        if known is None:
            check_folder_is_free(folder)
            searcher = self._searcher(find_prior(sweep, ledger, code=code, spec_dir=self.spec_dir), folder)
            record = ledger.add_sweep(name, sweep.to_dict(), spec_dir=self.spec_dir, code=code)
        else:
            searcher = self._searcher(Prior() if sweep.prior == "none" else load_prior(folder))
            record = known
        rule = make_stopping_rule(sweep, can_pause=True)
        memory = Memory(ledger, sweep, record, code=code, again=self.again)
        engine = Engine(
            sweep=sweep,
            searcher=searcher,
            rule=rule,
            ledger=ledger,
            record=record,
            memory=memory,
            checkpoints=Checkpoints(sweep, folder),
        )
        if known is not None:
            with uncollected():
                trials, reports = _check_journal(ledger, folder, record)
                engine.replay(
                    trials,
                    reports,
                    ledger.failures(record),
                    last_epoch=record.spec["limits"]["epochs"],
                    retry_failed=self.retry_failed,
                )
        return engine

    def _searcher(self, prior: Prior, folder: Path | None = None) -> Searcher:
        """The searcher, which has heard of the priors; they are kept in `folder` for later runs of the sweep."""
        searcher = make_searcher(self.sweep)
        if folder is not None and self.sweep.prior != "none":
            with storage_errors(folder):
                save_prior(folder, prior)
        searcher.learn_prior(prior.outcomes)
        return searcher

    def _write_spec(self, folder: Path) -> None:
        with storage_errors(folder):
            beside = folder / f".sweep.yaml.{os.getpid()}"
            beside.write_text(dump_yaml(self.sweep.to_dict()), encoding="utf-8")
            beside.replace(folder / "sweep.yaml")  # a link in its place is replaced, not followed

    def _run(
        self,
        engine: Engine,
        ledger: Ledger,
        folder: Path,
        trainable: TrainableSource | Trainable,
        *,
        num_known: int | None,
    ) -> int | None:
        import cloudpickle

        shipped = cloudpickle.dumps(trainable)
        kept = None if self.sweep.prior == "none" else load_prior(folder)
        is_old = kept is None and num_known is not None  # too late to begin with anything
        prior = None if is_old else describe(self.sweep, kept, ledger, code=engine.record.code)
        with storage_errors(folder):
            (folder / "trials").mkdir(exist_ok=True)
        try:
            with quiet(folder / "driver.log") as stream:
                session = Session(
                    engine,
                    folder=folder,
                    stream=stream,
                    shipped=shipped,
                    num_known=num_known or 0,
                    show=self.show,
                    num_gpus=self.num_gpus,
                    note=prior,
                )
                return session.run()
        except BaseException:
            if num_known is None and not any(trial.epochs for trial in engine.trials.values()):
                ledger.forget_sweep(engine.record)  # nothing was trained: the name is free again
                shutil.rmtree(folder / "trials", ignore_errors=True)
            raise


def run(
    space: str | Path | Mapping[str, Any] | Sweep,
    trainable: Trainable | str | None = None,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    home: str | Path | None = None,
    address: str | None = None,
    again: bool = False,
    accept_changes: bool = False,
    **keys: Any,
) -> Results:
    """Run a sweep from Python: quiet, with one live display on a terminal or in a notebook.

    Args:
        space: A spec's path or name, a dict of the same shape, or a `Sweep`.
        trainable: A function, or its name as in the YAML; None where the spec names it.
        trials: Short for `limits={"trials": ...}`.
        epochs: Short for `limits={"epochs": ...}`.
        home: Folder of the ledger; None for the environment variable HPSEARCH_HOME, else `./sweeps`.
        address: Short for `ray={"address": ...}`, a Ray that runs already. One that this process is connected to is
            used in any case.
        again: Train everything; without it, a trial that any sweep of the ledger has trained is answered from there.
        accept_changes: Go on with a known sweep although its code has changed.
        keys: Any top-level key of the YAML; maps such as `limits` are merged into the spec's, others replace it.

    Returns:
        The results; after the first Ctrl-C, those so far. A sweep that is in the ledger goes on; one that has nothing
        left to do comes back at once. A sweep without a name is called after its function; where the ledger has that
        name with another spec or other code, `-2`, `-3` and so on is put behind it.

    Raises:
        SpecError: With every mistake in the spec.
        SweepExists: A sweep of this name with another spec is in the ledger.
        SweepInUse: Another process runs it.
        LedgerError: The ledger can't be used.

    Example:
        >>> results = hpsearch.run("search_spaces/mlp.yaml", trials=8)  # doctest: +SKIP
        >>> results.best.config  # doctest: +SKIP
    """
    spec_dir = None
    if isinstance(space, str | Path):
        path = find_spec(str(space))
        spec_dir = path.parent
        tree = load_sweep(path).to_dict()
    else:
        tree = space.to_dict() if isinstance(space, Sweep) else _spec_of(space)
    given: object = trainable
    if not (given is None or isinstance(given, str) or callable(given)):
        message = f"expected a function or its name, got {type(given).__name__}."
        raise SpecError([Problem(where=("trainable",), message=message)])
    function = None if trainable is None or isinstance(trainable, str) else trainable
    limits = {name: value for name, value in (("trials", trials), ("epochs", epochs)) if value is not None}
    if address is not None:
        keys["ray"] = {"address": address}
    for key, value in {**keys, "limits": {**keys.get("limits", {}), **limits}}.items():
        tree[key] = (
            {**tree[key], **value}
            if isinstance(tree.get(key), dict) and isinstance(value, dict) and key != "parameters"
            else value
        )
    if trainable is not None:
        tree["trainable"] = trainable if isinstance(trainable, str) else None  # resume must not find another one
    sweep = Sweep.from_dict(tree)
    ready = Run(
        sweep=_named(sweep, function),
        home=home_dir(home),
        function=function,
        spec_dir=spec_dir,
        again=again,
        accept_changes=accept_changes,
    )
    return (ready if sweep.name is not None else ready.with_free_name()).start()[0]


def resume(
    name: str | None = None,
    *,
    trials: int | None = None,
    address: str | None = None,
    function: Trainable | None = None,
    home: str | Path | None = None,
    accept_changes: bool = False,
    retry_failed: bool = False,
    show: Show = "auto",
) -> tuple[Results, int]:
    """Go on with a sweep of the ledger, as its spec stands there.

    Args:
        name: None for the newest.
        trials: The new total; None leaves it.
        address: A Ray that runs already; None for the one of its spec.
        function: The trainable, where the sweep was given a function.
        home: Folder of the ledger, as for `run`.
        accept_changes: Go on although the code has changed.
        retry_failed: Try failed trials again, from their checkpoints, as if for the first time.
        show: What is shown while it runs.

    Returns:
        The results and the exit code, as `Run.start`.

    Raises:
        UnknownSweep: There is none.
        SpecError: The sweep was given a function, and none is given now.
    """
    folder = home_dir(home)
    with Ledger(folder) as ledger:
        record = ledger.sweep(name)
    if record.spec["trainable"] is None and function is None:
        message = "its trainable is a function, which only Python has. Call hpsearch.run or Results.resume with it."
        raise SpecError([Problem(where=(record.name, "trainable"), message=message)])
    limits = {**record.spec["limits"], **({} if trials is None else {"trials": trials})}
    ray = record.spec["ray"] if address is None else {"address": address}
    sweep = Sweep.from_dict({**record.spec, "limits": limits, "ray": ray})
    ready = Run(
        sweep=sweep,
        home=folder,
        function=function,
        spec_dir=find_spec_dir(record, folder),
        accept_changes=accept_changes,
        retry_failed=retry_failed,
        show=show,
    )
    return ready.start()


def _spec_of(space: Mapping[str, Any]) -> dict[str, Any]:
    """A dict that the user gave, in our words; one of Ray Tune's search objects without a spec around it is a space."""
    tree = space if "parameters" in space or not holds_ray_words(space) else {"parameters": space}
    translation = translate(tree)
    if translation.problems:
        raise SpecError(translation.problems)
    return translation.tree


def home_dir(home: str | Path | None) -> Path:
    """The folder of the ledger: as given, else HPSEARCH_HOME, else `./sweeps`."""
    return Path(home or os.environ.get("HPSEARCH_HOME") or DEFAULT_HOME)


def _named(sweep: Sweep, function: Trainable | None) -> Sweep:
    """A sweep without a name is called after its function."""
    if sweep.name is not None:
        return sweep
    guess = getattr(function, "__name__", None) or (sweep.trainable or "").rpartition(":")[2]
    if not NAME_PATTERN.fullmatch(guess):
        raise SpecError([Problem(where=("name",), message="the sweep needs a name. Write for example name: resnet.")])
    return sweep.with_values(name=guess)


def _locate(sweep: Sweep, spec_dir: Path | None) -> TrainableSource:
    if sweep.trainable is None:
        message = "'trainable' is missing. Write trainable: module:function."
        raise SpecError([Problem(where=("trainable",), message=message)])
    return locate(sweep.trainable, spec_dir=spec_dir, **sweep.script_arguments)


def _write(results: Results, ledger: Ledger) -> None:
    """Write tables and report; that they can't be written is no reason to lose the rest: the ledger has it all."""
    for what, write in (("tables were", results.write), ("report was", results.report)):
        try:
            write()
        except Exception as error:
            warnings.warn(f"'{results.name}': the {what} not written: {in_short(error)}", stacklevel=3)
            ledger.remark(ledger.sweep(results.name), f"the {what} not written: {in_short(error)}")


def _check_journal(
    ledger: Ledger, folder: Path, record: SweepRecord
) -> tuple[Sequence[TrialRecord], Sequence[ReportRecord]]:
    """A sweep's trials and reports, after a look at whether they are what was written."""
    trials, reports = ledger.trials(record), ledger.reports(record)
    check_agrees(folder, trials, reports)
    return trials, reports


def _exit_code(ledger: Ledger, name: str) -> int:
    record = ledger.sweep(name)
    succeeded = any(state in SUCCESS_STATES for state in ledger.count_states(record))
    return 0 if succeeded and record.state != "gave_up" else 1
