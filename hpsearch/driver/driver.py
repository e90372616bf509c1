"""Runs or resumes one sweep: acquires its lock, trains what is left, writes its tables; see `request.make_run`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from hpsearch.driver.begin_again import free_name
from hpsearch.driver.compatibility import (
    check_files,
    check_folder_is_free,
    find_changes,
    is_finished,
    refusal,
    stored_sweep,
)
from hpsearch.driver.console_log import redirect_output
from hpsearch.driver.next_steps import NextSteps, PythonCalls, ShellCommands
from hpsearch.driver.session import Session
from hpsearch.driver.slot_setup import prepare_trial_code
from hpsearch.driver.write_results import write_results
from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.engine.replay import Past
from hpsearch.engine.retention import CheckpointRetention
from hpsearch.errors import LedgerError, Problem, SpecError, SweepInUse, in_short
from hpsearch.ledger.agreement import check_agrees
from hpsearch.ledger.fingerprint import Code
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.provenance import append_provenance, take_provenance
from hpsearch.ledger.rebuilt_files import restore_journal
from hpsearch.ledger.records import ENDED_SWEEP_STATES, SUCCESS_STATES, SweepRecord
from hpsearch.ledger.sqlite import check_whole, storage_errors
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_files import are_gone
from hpsearch.ledger.trial_cache import TrialCache
from hpsearch.links import IN_HOME, make_folder
from hpsearch.live.display import Messages, Show
from hpsearch.paths import (
    driver_log_path,
    lock_path,
    replace_file,
    resolved_spec_path,
    snapshots_dir,
    trials_dir,
)
from hpsearch.plain import wrong_name
from hpsearch.priors.mapping import Prior
from hpsearch.priors.prior_file import load_prior, save_prior
from hpsearch.priors.sources import describe_prior, find_prior
from hpsearch.results.files import are_up_to_date
from hpsearch.search import make_searcher
from hpsearch.spec.file import dump_yaml, trainable_of
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from hpsearch.trainable.code_files import CodeFiles, read_code
from hpsearch.trainable.locate import Trainable, TrainableSource


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sweep, ready to run or to resume, and everything that the user can ask for."""

    sweep: Sweep
    """The checked spec, which has a name."""
    home: Path
    """The ledger's folder."""
    function: Trainable | None = None
    """The trainable, if it is a function that the sweep does not name."""
    spec_dir: Path | None = None
    """The spec's folder, in which the trainable's file is looked for first; None for a spec without a file."""
    again: bool | None = None
    """Train trials that another sweep of the ledger has trained, instead of reusing them; None: as it began."""
    accept_changes: bool = False
    """Resume although the code has changed since the sweep began."""
    retry_failed: bool = False
    """Try failed trials again, with all their retries."""
    resumes: bool = False
    """Whether the user asked to resume the sweep of this name, with the spec that is in the ledger."""
    commands: ShellCommands | None = None
    """Writes what messages offer as the command line has it; None for Python."""
    show: Show = "auto"
    """What is shown while it runs."""
    num_gpus: int | None = None
    """GPUs that a local Ray is started with; None for the real ones. For tests."""

    def start(self) -> int:
        """Run the sweep to its end; resume it if it is in the ledger. Ray starts only if something is left to do.

        Returns:
            The exit code: 0 at least one trial succeeded, 1 none did or the sweep gave up, 130 (SIGINT) and 143
            (SIGTERM) it was interrupted. What it found is in the ledger, and in tables and a report beside it.

        Raises:
            SpecError: The trainable can't be imported, or the machine can never fit a trial.
            SweepExists: The ledger has a sweep of this name with another spec or other code.
            SweepInUse: Another process runs the sweep.
            LedgerError: The ledger or the sweep's folder can't be read or written.
            RayGone: The Ray that runs the sweep died and can't be started again from here.
            Interrupted: A signal came before the first trial began.
        """
        name = self.sweep.name
        assert name is not None
        if (wrong := wrong_name(name)) is not None:
            raise SpecError([Problem(where=("name",), message=wrong)])
        folder = self.home / name
        trainable = self.find_trainable()
        files = read_code(trainable)
        with Ledger(self.home, create=True) as ledger:
            if not self.resumes:
                self._free_name(ledger, files)
            known = ledger.find_sweep(name)
            if known is not None and not self.resumes:
                check_files(known, ledger, self.next_steps)
            with storage_errors(folder):
                make_folder(folder, parts=IN_HOME)
            with writer_lock(folder, name, task="resume" if self.resumes else "sweep"), _in_place(ledger, folder):
                check_whole(ledger.path)
                known = _known(ledger, folder)
                sweep = _LockedSweep(
                    request=self if known is None else self._continuing(known),
                    ledger=ledger,
                    folder=folder,
                    trainable=trainable,
                    files=files,
                    known=known,
                )
                exit_code = sweep.run_remaining()
                if not are_up_to_date(folder):
                    write_results(ledger, name)
                return _exit_code(ledger, name) if exit_code is None else exit_code

    def _free_name(self, ledger: Ledger, files: CodeFiles) -> None:
        """Keep a sweep of this name under another one if it starts again, and say so."""
        freed = free_name(ledger, self.sweep, files, accept_changes=self.accept_changes)
        if freed is None:
            return
        Messages(sys.stdout, self.show).say(freed.message)
        if freed.kept_as is not None:
            write_results(ledger, freed.kept_as)  # which have its name in them

    @property
    def next_steps(self) -> NextSteps:
        """Writes what messages offer to do next."""
        return self.commands or PythonCalls(self.home, self.function)

    def _continuing(self, known: SweepRecord) -> Run:
        return replace(self, sweep=self.sweep.continuing(stored_sweep(known, self.home)))

    def find_trainable(self) -> TrainableSource | Trainable:
        """The function, or the file or module that has it.

        Raises:
            SpecError: The sweep names no trainable, or one that does not exist.
        """
        return self.function or trainable_of(self.sweep, spec_dir=self.spec_dir)


def _known(ledger: Ledger, folder: Path) -> SweepRecord | None:
    """What the ledger has of the sweep in a folder whose lock this process holds; its journal is there, too."""
    known = ledger.find_sweep(folder.name)
    if known is not None and known.folder != folder.name:
        raise SweepInUse(f"sweep '{folder.name}' is being renamed; its folder is still {known.folder}. Try again.")
    if known is not None and are_gone(folder):
        restore_journal(ledger, known)
    return known


@contextmanager
def _in_place(ledger: Ledger, folder: Path) -> Iterator[None]:
    """End with a `LedgerError` if the ledger or the sweep's folder is removed in the block, whatever fails for it."""
    ledger.keep_in_place(folder, lock_path(folder))
    try:
        yield
    finally:
        ledger.check_in_place()


@final
@dataclass(frozen=True, kw_only=True)
class _LockedSweep:
    """The sweep while this process holds its lock."""

    request: Run
    """What the user asked for."""
    ledger: Ledger
    """The open ledger."""
    folder: Path
    """The sweep's folder."""
    trainable: TrainableSource | Trainable
    """The function, or the file or module that has it."""
    files: CodeFiles
    """The trainable's source files as they are now."""
    known: SweepRecord | None
    """What an earlier run left in the ledger; None for a new sweep."""

    @property
    def code(self) -> Code | None:
        """Hashes of the trainable's source; None where it has none, so that no trial can be reused."""
        return self.files.code

    @property
    def again(self) -> bool:
        """Whether no trial is reused from another sweep: as requested, else as when the sweep began."""
        return self.request.again if self.request.again is not None else bool(self.known and self.known.again)

    def run_remaining(self) -> int | None:
        """Train what is left, if anything is.

        Returns:
            The exit code after a signal; None if the exit code follows from the sweep's state in the ledger.
        """
        if self.known is None:
            check_folder_is_free(self.folder)
        else:
            self._check_unchanged(self.known)
            if not self.request.retry_failed and is_finished(self.known, self.request.sweep, self.ledger):
                self._past(self.known)
                return None
        prior = self._prior()
        engine = self._engine(prior)
        try:
            return self._run_engine(engine, prior)
        except BaseException as error:
            self._record_abort(engine, error)
            raise

    def _check_unchanged(self, known: SweepRecord) -> None:
        """Check that the sweep resumes with the spec and the code that it began with."""
        request, code = self.request, self.files.code_matching(known.code)
        if changes := find_changes(known, request.sweep, code, accept_changes=request.accept_changes):
            raise refusal(known, changes, self.ledger, request.next_steps, resumes=request.resumes)

    def _run_engine(self, engine: Engine, prior: Prior | None) -> int | None:
        """Train what is left of a sweep whose past the engine has replayed."""
        num_known = len(engine.trials)
        has_work = engine.has_work()
        has_changed = len(engine.trials) > num_known or (engine.record.reason is None and engine.exhaustion())
        if not has_work and not has_changed and engine.record.state in ENDED_SWEEP_STATES:
            return None
        self._record_start(engine)
        if has_work:
            return self._train(engine, prior, num_known)
        engine.finish()  # all was reused, or the driver was killed between the last trial and the end
        return None

    def _prior(self) -> Prior | None:
        """Earlier outcomes that the search starts with, or None; a known sweep keeps those that it started with."""
        sweep = self.request.sweep
        if sweep.prior == "none":
            return None
        if self.known is not None:
            return load_prior(self.folder)
        prior = find_prior(sweep, self.ledger, code=self.code, spec_dir=self.request.spec_dir)
        with storage_errors(self.folder):
            save_prior(self.folder, prior)
        return prior

    def _engine(self, prior: Prior | None) -> Engine:
        """The engine, with the past of a known sweep replayed. A new sweep is added to the ledger here."""
        sweep, ledger = self.request.sweep, self.ledger
        searcher = make_searcher(sweep)
        if prior is not None:
            searcher.learn_prior(prior.outcomes)
        record = self.known or ledger.add_sweep(
            self.folder.name, sweep.to_dict(), spec_dir=self.request.spec_dir, code=self.code, again=self.again
        )
        if self.again != bool(record.again):
            ledger.set_again(record, self.again)
        parts = EngineParts(
            sweep=sweep,
            searcher=searcher,
            rule=make_stopping_rule(sweep, can_pause=True, is_random=searcher.is_random),
            ledger=ledger,
            record=record,
            cache=TrialCache(ledger, sweep, record, code=self.code, again=self.again),
            retention=CheckpointRetention(sweep, self.folder, is_random=searcher.is_random),
        )
        if self.known is None:
            return Engine.new(parts)
        return Engine.resumed(parts, self._past(record), retry_failed=self.request.retry_failed)

    def _past(self, record: SweepRecord) -> Past:
        """What earlier runs left in the ledger, checked against the sweep's journal."""
        past = Past.read(self.ledger, record)
        check_agrees(self.folder, past.trials, past.reports, spec=record.spec)
        return past

    def _record_start(self, engine: Engine) -> None:
        """Record the sweep as running, and write its resolved spec and the versions of the software that it uses."""
        spec = self.request.sweep.to_dict()
        self.ledger.reopen_sweep(engine.record, spec, spec_dir=self.request.spec_dir, code=self.code)
        with storage_errors(self.folder):
            replace_file(resolved_spec_path(self.folder), dump_yaml(spec))
            append_provenance(self.folder, take_provenance(self.request.spec_dir))

    def _train(self, engine: Engine, prior: Prior | None, num_known: int) -> int | None:
        """Run assignments on Ray until there are none."""
        is_too_late = prior is None and self.known is not None  # for a prior: the search has begun
        about_prior = None if is_too_late else describe_prior(self.request.sweep, prior, self.ledger, code=self.code)
        with storage_errors(self.folder):
            trials_dir(self.folder).mkdir(exist_ok=True)
        code = prepare_trial_code(self.trainable, self.files, self.request.sweep, folder=self.folder)
        surprises = [f"Note: {note}" for note in self.request.sweep.surprises if self.known is None]
        with redirect_output(driver_log_path(self.folder)) as stream:
            session = Session(
                engine,
                folder=self.folder,
                stream=stream,
                code=code,
                num_known=num_known,
                show=self.request.show,
                num_gpus=self.request.num_gpus,
                notes=tuple(filter(None, (*surprises, about_prior, code.note))),
            )
            return session.run()

    def _record_abort(self, engine: Engine, error: BaseException) -> None:
        """Record an aborted sweep as interrupted, so that readers do not mistake it for a killed one.

        A new sweep that has trained nothing is removed instead, and its name is free again.
        """
        if self.known is None and not engine.trials.any_trained:
            self.ledger.forget_sweep(engine.record)
            for folder in (trials_dir(self.folder), snapshots_dir(self.folder)):
                shutil.rmtree(folder, ignore_errors=True)
            return
        is_signal = isinstance(error, KeyboardInterrupt)
        with suppress(LedgerError):  # if the error was one itself, the end can't be written either
            engine.stop("interrupted", "a signal came before a trial began" if is_signal else in_short(error))
            engine.finish()


def _exit_code(ledger: Ledger, name: str) -> int:
    record = ledger.sweep(name)
    succeeded = any(state in SUCCESS_STATES for state in ledger.count_states(record))
    return 0 if succeeded and record.state != "gave_up" else 1
