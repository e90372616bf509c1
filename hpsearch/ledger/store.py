"""The trial store. One process writes a sweep; any number of processes read it while it runs.

A state change is committed when its method returns, and is in the sweep's journal too. Queries are in `queries.py`; how
changes are committed, and when reports are, is in `transactions.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Unpack, final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from hpsearch.errors import SweepExists, UnknownSweep
from hpsearch.ledger import schema
from hpsearch.ledger.in_place import check_not_lost
from hpsearch.ledger.queries import Queries
from hpsearch.ledger.records import ACTIVE_STATES, FailureRecord, SweepRecord, SweepState, TrialValues
from hpsearch.ledger.renaming import Renaming
from hpsearch.ledger.spec_dir import from_home
from hpsearch.ledger.sqlite import log_paths, open_to_read, open_to_write, storage_errors
from hpsearch.ledger.transactions import Transactions
from hpsearch.links import IN_HOME, check_unlinked
from hpsearch.paths import history_path, ledger_path, trials_csv_path, trials_parquet_path
from hpsearch.time_of_day import utc_now


def now() -> str:
    """The time of day: UTC, ISO 8601, to the microsecond."""
    return utc_now().isoformat(timespec="microseconds")


@final
class Ledger(Queries):
    """All sweeps of one home folder; a context manager that closes the file at its end.

    Every method raises LedgerError where the file or a journal can't be read or written.
    """

    def __init__(self, home: Path, *, create: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the ledger of a home folder.

        Args:
            home: Folder that holds `ledger.db` and a folder for each sweep.
            create: Open it to write: make the folder and the file where they are missing, and migrate an older file to
                this version. Without it the file is only read, whatever its version.
            clock: Seconds that never go back.

        Raises:
            UnknownSweep: There is no ledger, and `create` is false.
            LedgerError: It can't be opened, a newer version of hpsearch wrote it, or it is gone and its sweeps are not.
        """
        self.home = home
        """The folder as it was given."""
        self.path = ledger_path(home)
        if not create and not self.path.exists():
            check_not_lost(self.path)
            raise UnknownSweep(
                f"{self.path}: there is no ledger here yet. Run a sweep first, or name its folder: --home, in Python"
                " home=."
            )
        with storage_errors(self.path):
            engine = open_to_write(self.path) if create else open_to_read(self.path)
        self._transactions = Transactions(engine, self.path, clock=clock)
        self._renaming = Renaming(self._transactions, self.path)
        if create:
            self.keep_in_place(home, self.path, *log_paths(self.path))
            self._renaming.finish_all()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit the reports that are held back, and close the file."""
        self._transactions.close()

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees what is committed, and what a `transaction` around it has written so far."""
        return self._transactions.reading()

    def transaction(self) -> AbstractContextManager[Connection]:
        """Commit all that is written in the block at its end, or nothing."""
        return self._transactions.transaction()

    def keep_in_place(self, *paths: Path) -> None:
        """From now on, commit nothing once one of these files or folders was removed, moved or replaced."""
        with storage_errors(self.path):
            self._transactions.files.watch(*paths)

    def check_in_place(self) -> None:
        """Check that the files which this process writes were not removed, moved or replaced since it opened them."""
        self._transactions.check_in_place()

    def wait_before_commits(self, wait: Callable[[], None]) -> None:
        """Call `wait` before each transaction, which begins when it returns; see `engine/disk.py`."""
        self._transactions.wait_for_space = wait

    def tick(self) -> None:
        """Commit reports and force journals to the disk where they have waited long enough; to be called often.

        A few times a second keeps the limits `transactions.REPORT_DELAY_S` and `journal.SYNC_S`.
        """
        self._transactions.tick()

    def flush(self) -> None:
        """Commit the reports that are held back."""
        self._transactions.flush()

    def add_sweep(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        spec_dir: Path | None = None,
        code: Mapping[str, str] | None = None,
        again: bool = False,
    ) -> SweepRecord:
        """Add a sweep in state `running`.

        Args:
            name: A name that no sweep of the ledger has; also the name of its folder.
            spec: The resolved spec.
            spec_dir: Folder of the spec; None if it is no file.
            code: The trainable's source, see `fingerprint.code_of`; None if it can't be known.
            again: Whether no trial is reused from another sweep.

        Raises:
            SweepExists: The ledger has a sweep of that name.
        """
        row = {
            "name": name,
            "state": "running",
            "spec": json.dumps(spec),
            "folder": name,
            **self._spec_columns(spec_dir),
            "code": _json(code),
            "started_at": now(),
            "can_pause": True,
            "again": again,
        }
        try:
            with self.transaction() as connection:
                connection.execute(sa.insert(schema.sweeps).values(row))
                self._transactions.append(name, "sweep", row)
        except IntegrityError as error:
            raise SweepExists(
                f"a sweep named '{name}' is in {self.path} already. Choose another with --name."
            ) from error
        return self.sweep(name)

    def reopen_sweep(
        self,
        sweep: SweepRecord,
        spec: Mapping[str, Any],
        *,
        spec_dir: Path | None = None,
        code: Mapping[str, str] | None = None,
    ) -> SweepRecord:
        """Set a sweep to `running` again, with limits and code that may have changed.

        Args:
            sweep: Its record.
            spec: The resolved spec as it is now.
            spec_dir: Folder of the spec; None leaves the one on record.
            code: The trainable's source as it is now; None if it can't be known.

        Returns:
            The record as it is then.
        """
        values = {"state": "running", "reason": None, "ended_at": None, "spec": json.dumps(spec), "code": _json(code)}
        values |= {} if spec_dir is None else self._spec_columns(spec_dir)
        self._update_sweep(sweep, values)
        return self.sweep(sweep.name)

    def disable_pausing(self, sweep: SweepRecord) -> None:
        """Record that the sweep's rule stops trials instead of pausing them, since one had no checkpoint at a rung."""
        self._update_sweep(sweep, {"can_pause": False})

    def set_again(self, sweep: SweepRecord, again: bool) -> None:
        """Record whether the sweep, from now on, reuses no trial of another sweep."""
        self._update_sweep(sweep, {"again": again})

    def rename_sweep(self, sweep: SweepRecord, name: str) -> SweepRecord:
        """Rename a sweep, and its folder with it; for the process that holds its lock, which it holds there too.

        Where the process is killed in between, the sweep is whole under one of the names, and the next `Ledger` that is
        opened to write finishes the rename or undoes it.

        Args:
            sweep: Its record; no trial of it runs.
            name: A name that no sweep of the ledger has; see `plain.NAME_PATTERN`.

        Returns:
            The record as it is then.

        Raises:
            SpecError: It is no name for a sweep.
            SweepExists: Another sweep has the name, or there is a file or a folder of that name.
        """
        self._renaming.rename(sweep, name)
        return self.sweep(name)

    def forget_sweep(self, sweep: SweepRecord) -> None:
        """Remove the rows and the tables of a sweep, so that its name is free again.

        Its journal says so, on the disk too when this returns: a rebuilt ledger does not have it either. The other
        files stay; see `forgetting.py`.
        """
        with storage_errors(self.path):
            check_unlinked(self.home / sweep.folder, parts=IN_HOME)
            for path in (trials_csv_path, trials_parquet_path, history_path):
                path(self.home / sweep.folder).unlink(missing_ok=True)
        ours = sa.select(schema.trials.c.id).where(schema.trials.c.sweep_id == sweep.id)
        with self.transaction() as connection:
            connection.execute(sa.delete(schema.claims).where(schema.claims.c.sweep_id == sweep.id))
            for table in (schema.failures, schema.reports):  # left rows would belong to the next trial of that id
                connection.execute(sa.delete(table).where(table.c.trial_id.in_(ours)))
            connection.execute(sa.delete(schema.trials).where(schema.trials.c.sweep_id == sweep.id))
            connection.execute(sa.delete(schema.sweeps).where(schema.sweeps.c.id == sweep.id))
            self._transactions.append(sweep.folder, "forgotten", sweep.started_at)
        self._transactions.release(sweep.folder)

    def end_sweep(self, sweep: SweepRecord, state: SweepState, reason: str | None = None) -> None:
        """Record how a sweep ended, and drop its claims.

        Args:
            sweep: Its record.
            state: `done`, `gave_up` or `interrupted`.
            reason: Why it ended early, in one sentence; None where it ran to its end.
        """
        with self.transaction() as connection:
            self._update_sweep(sweep, {"state": state, "reason": reason, "ended_at": now()})
            connection.execute(sa.delete(schema.claims).where(schema.claims.c.sweep_id == sweep.id))

    def add_note(self, sweep: SweepRecord, text: str) -> None:
        """Append a sentence to the reason why a sweep ended, unless the reason contains it already."""
        known = self.sweep(sweep.name).reason
        if known is None or text not in known:
            self._update_sweep(sweep, {"reason": "; ".join(filter(None, (known, text)))})

    def add_trial(
        self,
        sweep: SweepRecord,
        number: int,
        *,
        point: Mapping[str, Any],
        seed: int,
        fingerprint: str | None = None,
        code_hash: str | None = None,
        code: str | None = None,
    ) -> int:
        """Add a trial in state `running`.

        Args:
            sweep: The sweep that it is part of.
            number: Its number in the sweep, counted from 1.
            point: Dotted name to value, constants included.
            seed: Seed of its random numbers.
            fingerprint: What later sweeps recognise it by; None if that can't be known.
            code_hash: Hash of the code that it begins with; None if that can't be known.
            code: The first digits of the same hash, as tables show it.

        Returns:
            The key of its row, as the other methods expect it.
        """
        row = {
            "sweep_id": sweep.id,
            "number": number,
            "state": "running",
            "point": json.dumps(point),
            "seed": seed,
            "fingerprint": fingerprint,
            "code_hash": code_hash,
            "code": code,
            "attempts": 1,
            "epochs_trained": 0,
            "started_at": now(),
        }
        with self.transaction() as connection:
            key = connection.execute(sa.insert(schema.trials).values(row)).inserted_primary_key
            assert key is not None
            self._transactions.register(int(key[0]), sweep.folder, number)
            self._transactions.append_of_trial(int(key[0]), "trial", row)
            return int(key[0])

    def update_trial(
        self, trial_id: int, *, failure: FailureRecord | None = None, **values: Unpack[TrialValues]
    ) -> None:
        """Set columns of a trial; committed on return, together with all reports so far.

        A trial whose new state is neither `queued` nor `running` loses its claim.

        Args:
            trial_id: Key of its row.
            failure: An attempt that failed, to be added.
            values: Column to value; the other columns stay as they are.
        """
        columns: dict[str, object] = {**values}
        if (metrics := values.get("last_metrics")) is not None:
            columns["last_metrics"] = json.dumps(metrics)
        trials, claims = schema.trials, schema.claims
        with self.transaction() as connection:
            connection.execute(sa.update(trials).where(trials.c.id == trial_id).values(columns))
            self._transactions.append_of_trial(trial_id, "trial", columns)
            if values.get("state", "running") not in ACTIVE_STATES:
                its = sa.and_(trials.c.sweep_id == claims.c.sweep_id, trials.c.number == claims.c.number)
                connection.execute(sa.delete(claims).where(sa.exists().where(trials.c.id == trial_id, its)))
            if failure is not None:
                row = {name: value for name, value in vars(failure).items() if name != "number"}
                row |= {"trial_id": trial_id, "failed_at": now()}
                connection.execute(sa.insert(schema.failures).values(row))
                self._transactions.append_of_trial(trial_id, "failure", row)

    def clear_checkpoints(self, trial_ids: Iterable[int]) -> None:
        """Record that these trials have no checkpoint; to be called before their files are removed.

        Args:
            trial_ids: Keys of their rows.
        """
        trial_ids = list(trial_ids)
        with self.transaction() as connection:
            theirs = schema.trials.c.id.in_(trial_ids)
            connection.execute(sa.update(schema.trials).where(theirs).values(checkpoint_epoch=None))
            for trial_id in trial_ids:
                self._transactions.append_of_trial(trial_id, "trial", {"checkpoint_epoch": None})

    def reset_failures(self, trial_ids: Iterable[int]) -> None:
        """Record failed trials as `queued`, with failures that no longer count, since the user wants them retried.

        Args:
            trial_ids: Keys of their rows.
        """
        trial_ids = list(trial_ids)
        with self.transaction() as connection:
            theirs = schema.failures.c.trial_id.in_(trial_ids)
            connection.execute(sa.update(schema.failures).where(theirs).values(counts=False))
            for trial_id in trial_ids:
                self._transactions.append_of_trial(trial_id, "forgiven")
                self.update_trial(trial_id, state="queued", cause=None, evidence=None)

    def add_report(self, trial_id: int, *, epoch: int, metrics: Mapping[str, float], elapsed_s: float) -> None:
        """Add a report; committed at most `transactions.REPORT_DELAY_S` later, if `tick` is called that often.

        Args:
            trial_id: Key of the trial's row.
            epoch: Counted from 1.
            metrics: Everything that was reported.
            elapsed_s: Seconds of training of this trial up to here.
        """
        row = {"trial_id": trial_id, "epoch": epoch, "metrics": json.dumps(metrics), "elapsed_s": elapsed_s}
        self._transactions.hold(row)

    def _update_sweep(self, sweep: SweepRecord, values: Mapping[str, Any]) -> None:
        with self.transaction() as connection:
            connection.execute(sa.update(schema.sweeps).where(schema.sweeps.c.id == sweep.id).values(values))
            self._transactions.append(sweep.folder, "sweep", values)

    def _spec_columns(self, spec_dir: Path | None) -> dict[str, str | None]:
        if spec_dir is None:
            return {"spec_dir": None, "spec_from_home": None}
        return {"spec_dir": str(spec_dir.resolve()), "spec_from_home": from_home(spec_dir, self.home)}


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value))
