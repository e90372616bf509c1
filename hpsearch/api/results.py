"""`load` and `Results`: the results of a sweep, read from the ledger at each access."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hpsearch.ledger.lock import is_held
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord, best_of
from hpsearch.ledger.store import Ledger
from hpsearch.paths import home_dir, report_path
from hpsearch.results.rows import checkpoint_of
from hpsearch.results.summaries import headline
from hpsearch.space.space import to_config
from hpsearch.text import printable

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from hpsearch.results.plots import Plots


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best trial of a sweep."""

    trial: int
    """Number of the trial."""
    value: float
    """Its best value of the objective."""
    epoch: int
    """Epoch of that value, counted from 1."""
    config: Mapping[str, Any]
    """The configuration, nested as the trainable gets it."""
    checkpoint: str | None
    """Checkpoint of that epoch: the file of rank 0, or the folder of a Ray Tune function; None if it is not kept."""
    newest_checkpoint: str | None
    """The trial's checkpoint of its latest epoch, which may be after the best one; None if the trial has none."""


def load(name: str | None = None, *, home: str | Path | None = None) -> Results:
    """Open the results of a sweep, which may be over, run at the moment, or have crashed.

    Args:
        name: Name of the sweep; None for the newest.
        home: Folder of the ledger; None for the environment variable HPSEARCH_HOME, else `./sweeps`.

    Raises:
        UnknownSweep: There is no such sweep; the message lists similar names.
        LedgerError: The ledger can't be read.

    Example:
        >>> best = hpsearch.load("curves").best
        >>> best.trial, round(best.value, 4), best.config["width"]
        (29, 0.2814, 128)
    """
    return Results(home_dir(home), name)


@final
class Results:
    """The tables and charts of one sweep, which can be read during the sweep, after it, and after a crash.

    Each attribute and method reads the ledger when it is used, so it has the present state of a sweep that runs. The
    columns of all tables are described in the guide, page "The tables" (docs/tables.md).

    Example:
        >>> results = hpsearch.run("search_spaces/mlp.yaml", trials=8)  # doctest: +SKIP
        >>> results.trials.sort_values("best_val_loss").head()  # doctest: +SKIP
    """

    def __init__(self, home: str | Path, name: str | None = None) -> None:
        """Find a sweep in a ledger.

        Args:
            home: Folder of the ledger.
            name: Name of the sweep; None for the newest.

        Raises:
            UnknownSweep: The ledger has no such sweep.
            LedgerError: The ledger can't be read.
        """
        self.home = Path(home)
        """Folder of the ledger."""
        with Ledger(self.home) as ledger:
            self.name = ledger.sweep(name).name
            """Name of the sweep."""

    @property
    def sweep(self) -> SweepRecord:
        """The sweep's record in the ledger: its state, its spec with all defaults, its times."""
        return self._read()[0]

    @property
    def folder(self) -> Path:
        """Folder of the sweep's files."""
        return self.home / self.sweep.folder

    @property
    def trials(self) -> pd.DataFrame:
        """One row for each trial, by number."""
        from hpsearch.results.tables import trials_frame

        return trials_frame(*self._read(), home=self.home)

    @property
    def history(self) -> pd.DataFrame:
        """One row for each trial and epoch."""
        from hpsearch.results.tables import history_frame

        return history_frame(self._reports())

    @property
    def failed(self) -> pd.DataFrame:
        """One row for each trial that failed for good, with the columns `trial`, `cause`, `evidence` and `log`."""
        failures = self.failures
        is_final = (failures["state"] == "failed") & ~failures["was_retried"]
        last = failures[is_final].drop_duplicates("trial", keep="last")
        return last[["trial", "cause", "evidence", "log"]].sort_values("trial", ignore_index=True)

    @property
    def failures(self) -> pd.DataFrame:
        """One row for each failed attempt, also of trials that succeeded later.

        Example:
            >>> results.failures["cause"].value_counts().to_dict()
            {'oom_gpu': 3}
        """
        from hpsearch.results.analysis.failures import failed_attempts
        from hpsearch.results.tables import failures_frame

        with Ledger(self.home) as ledger:
            sweep = ledger.sweep(self.name)
            attempts = failed_attempts(sweep, ledger.trials(sweep), ledger.failures(sweep), home=self.home)
        return failures_frame(attempts)

    @property
    def best(self) -> Best | None:
        """The best trial that is done, stopped or reused; None if there is none yet."""
        sweep, trials = self._read()
        found = best_of(trials, sign=sweep.sign)
        if found is None:
            return None
        assert found.best_value is not None and found.best_epoch is not None
        best, newest = (
            checkpoint_of(sweep, found, epoch=epoch, home=self.home)
            for epoch in (found.best_epoch, found.checkpoint_epoch)
        )
        return Best(
            trial=found.number,
            value=found.best_value,
            epoch=found.best_epoch,
            config=to_config(dict(found.point)),
            checkpoint=None if best is None else str(self.home / best),
            newest_checkpoint=None if newest is None else str(self.home / newest),
        )

    def importance(self) -> pd.DataFrame:
        """The importance of each parameter that varies, the most important first.

        Returns:
            Columns `parameter importance low high epoch trials`: shares that add up to 1, their 90 % intervals, the
            epoch at which trials are compared, and the number of those trials. Empty, with a warning that gives the
            reason, if there are too few trials.
        """
        from hpsearch.results.analysis.importance import importance
        from hpsearch.results.tables import importance_frame

        with Ledger(self.home) as ledger:
            sweep = ledger.sweep(self.name)
            found = importance(sweep, ledger.trials(sweep), ledger.reports(sweep))
        if not found.rows:
            warnings.warn(found.sentence, stacklevel=2)
        return importance_frame(found)

    def compare(self, *others: str) -> pd.DataFrame:
        """Compare this sweep with others: one row for each, with its best value at equal budgets too.

        Args:
            others: Names of sweeps in the same ledger, with the same metric and goal.

        Raises:
            UnknownSweep: There is no sweep of that name.
            SpecError: A sweep has another metric or another goal.
        """
        from hpsearch.results.analysis.compare import compare_sweeps, read_sweep
        from hpsearch.results.tables import compare_frame

        with Ledger(self.home) as ledger:
            records = [ledger.sweep(name) for name in (self.name, *others)]
            read = [read_sweep(each, ledger.current_trials(each), ledger.reports(each)) for each in records]
        return compare_frame(compare_sweeps(read).rows)

    def to_optuna(self) -> optuna.Study:
        """A copy of the sweep as an Optuna study in memory, for Optuna's plots and tools."""
        from hpsearch.results.export.optuna_study import make_study

        with Ledger(self.home) as ledger:
            sweep = ledger.sweep(self.name)
            return make_study(sweep, ledger.trials(sweep), ledger.reports(sweep))

    @property
    def plot(self) -> Plots:
        """Charts: `plot.curves()`, `plot.progress()`, `plot.importance()`, `plot.parallel()`, `plot.slices()`.

        Each returns a figure, whose method `save` writes a PNG, SVG or HTML file.
        """
        from hpsearch.results.analysis.findings import read_findings
        from hpsearch.results.plots import Plots

        return Plots(lambda: read_findings(self.home, self.name))

    def report(self, path: str | Path | None = None, *, static: bool = False) -> Path:
        """Write the report: one HTML file that needs no network.

        Args:
            path: Path of the file; None for `report.html` in the sweep's folder.
            static: Draw charts without zoom and without scripts; the file is 4.8 MB smaller.

        Returns:
            The path of the file.

        Raises:
            LinkRefused: No path is given, and the sweep's folder is a link.
            LedgerError: The file can't be written.
        """
        from hpsearch.links import IN_HOME, check_unlinked
        from hpsearch.results.analysis.findings import read_findings
        from hpsearch.results.report.write import write_report

        found = read_findings(self.home, self.name)
        written = report_path(check_unlinked(self.folder, parts=IN_HOME)) if path is None else Path(path)
        write_report(found, written, is_static=static)
        return written

    def resume(
        self,
        trials: int | None = None,
        *,
        function: Callable[[dict[str, Any]], Any] | None = None,
        retry_failed: bool = False,
        accept_changes: bool = False,
    ) -> Results:
        """Resume the sweep: interrupted trials resume from their checkpoints, and no epoch of a trial is trained twice.

        Args:
            trials: New total number of trials; None for the present one.
            function: The trainable, if the sweep was started with a function.
            retry_failed: Try failed trials again, with all their retries.
            accept_changes: Resume although the trainable's code has changed.

        Returns:
            The results of the same sweep.

        Raises:
            SpecError: The sweep was started with a function, and none is given now.
            SweepExists: The code has changed since the sweep began, and `accept_changes` is False.
            SweepInUse: Another process runs the sweep.
            LedgerError: The ledger can't be read or written.
            RayGone: The Ray that runs the sweep died and can't be started again from here.
            Interrupted: A signal came before the first trial began.
        """
        from hpsearch.driver.request import StoredSweep, make_run, overrides_of

        run = make_run(
            StoredSweep(self.name),
            function,
            overrides=overrides_of(trials=trials),
            home=self.home,
            retry_failed=retry_failed,
            accept_changes=accept_changes,
        )
        run.start()
        return Results(run.home, run.sweep.name)

    def write(self) -> None:
        """Write `trials.csv`, `trials.parquet` and `history.parquet` into the sweep's folder."""
        from hpsearch.results.analysis.findings import read_findings
        from hpsearch.results.tables import write_tables

        write_tables(read_findings(self.home, self.name))

    def __repr__(self) -> str:
        return f"<Results {self._headline(*self._read())}>"

    def _repr_html_(self) -> str:
        """A static HTML table of the best trials, with all text escaped."""
        from hpsearch.results.notebook import results_html

        sweep, trials = self._read()
        return results_html(sweep, trials, self._headline(sweep, trials))

    def _headline(self, sweep: SweepRecord, trials: list[TrialRecord]) -> str:
        return printable(headline(sweep, trials, is_alive=is_held(self.home / sweep.folder)))

    def _read(self) -> tuple[SweepRecord, list[TrialRecord]]:
        with Ledger(self.home) as ledger:
            sweep = ledger.sweep(self.name)
            return sweep, ledger.current_trials(sweep)

    def _reports(self) -> list[ReportRecord]:
        with Ledger(self.home) as ledger:
            return ledger.reports(ledger.sweep(self.name))
