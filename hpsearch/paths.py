"""Where every file and folder of a home folder is, and how a file is replaced in one step.

HOME/                             `--home`, else HPSEARCH_HOME, else ./sweeps
  ledger.db                       all sweeps, trials and reports (SQLite)
  .ledger.db.lock                 held while a process makes or rebuilds the ledger
  .monitoring/NAME.json           for Prometheus: the address of a running sweep's metrics
  NAME/                           a sweep's folder
    lock                          held by the process that runs the sweep
    journal.jsonl                 every change of the ledger, as text; a damaged ledger is rebuilt with it
    runs.jsonl                    versions, commit and machine of each run
    sweep.yaml                    the resolved spec
    prior.json                    outcomes of other sweeps that the search began with
    live.json                     what the running driver shows in `watch`
    driver.log                    output of the driver, Ray and other libraries
    code/HASH/                    the user's code as the trials import it
    trials/0007/                  a trial's folder
      log.txt                     what the trial prints, and what hpsearch says about it
      processes.json              the processes that train it now
      checkpoint/                 its checkpoints
    trials.csv, trials.parquet, history.parquet, report.html, study.db
    outputs.json                  which change of the ledger the tables and the report show

In any folder, .NAME.new-XXXXXXXX/ holds the file NAME while it is written; see `replacing`.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DEFAULT_HOME = Path("sweeps")
"""The home folder where no other is given."""
LEDGER_NAME = "ledger.db"
"""No sweep may have a name that begins so, since sweeps have folders beside this file."""
JOURNAL_NAME = "journal.jsonl"
"""Name of each sweep's journal."""


def home_dir(home: str | Path | None) -> Path:
    """The folder of the ledger: as given, else HPSEARCH_HOME, else `./sweeps`."""
    return Path(home or os.environ.get("HPSEARCH_HOME") or DEFAULT_HOME)


def home_option(home: Path) -> str:
    """The option ` --home FOLDER` for a command that we print; empty where the command finds the folder without it.

    Returns:
        Text to append to a command: it begins with a blank, and the folder is quoted for a shell.
    """
    return "" if home == DEFAULT_HOME == home_dir(None) else f" --home {shlex.quote(str(home))}"


def shortened(path: Path) -> Path:
    """A path for messages: relative if it is below the working directory, otherwise unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def ledger_path(home: Path) -> Path:
    """The SQLite file of all sweeps."""
    return home / LEDGER_NAME


def ledger_lock_path(home: Path) -> Path:
    """Locked while a process makes or rebuilds the ledger's file."""
    return home / f".{LEDGER_NAME}.lock"


def targets_dir(home: Path) -> Path:
    """Where Prometheus (`file_sd_configs`) looks for the addresses of the metrics of running sweeps."""
    return home / ".monitoring"


def targets_path(home: Path, name: str) -> Path:
    """The address of the metrics of one running sweep."""
    return targets_dir(home) / f"{name}.json"


def lock_path(sweep_dir: Path) -> Path:
    """The lock of the process that runs the sweep; see `ledger/lock.py`."""
    return sweep_dir / "lock"


def journal_path(sweep_dir: Path) -> Path:
    """The ledger's changes of one sweep, as text; see `ledger/journal.py`."""
    return sweep_dir / JOURNAL_NAME


def provenance_path(sweep_dir: Path) -> Path:
    """One line for each run of the sweep; see `ledger/provenance.py`."""
    return sweep_dir / "runs.jsonl"


def resolved_spec_path(sweep_dir: Path) -> Path:
    """The spec with all defaults and options, as YAML."""
    return sweep_dir / "sweep.yaml"


def prior_path(sweep_dir: Path) -> Path:
    """The outcomes of other sweeps that the search began with; see `priors/prior_file.py`."""
    return sweep_dir / "prior.json"


def status_path(sweep_dir: Path) -> Path:
    """What the running driver reports to `watch`; see `live/status_file.py`."""
    return sweep_dir / "live.json"


def driver_log_path(sweep_dir: Path) -> Path:
    """Output of the driver's process that is not ours: Ray, warnings, other libraries."""
    return sweep_dir / "driver.log"


def snapshots_dir(sweep_dir: Path) -> Path:
    """Holds a folder for each version of the user's code that trials imported; see `trainable/code_snapshot.py`."""
    return sweep_dir / "code"


def trials_csv_path(sweep_dir: Path) -> Path:
    """The table of trials for a spreadsheet."""
    return sweep_dir / "trials.csv"


def trials_parquet_path(sweep_dir: Path) -> Path:
    """The table of trials with the types of its columns."""
    return sweep_dir / "trials.parquet"


def history_path(sweep_dir: Path) -> Path:
    """The table of reports: one row for each trial and epoch."""
    return sweep_dir / "history.parquet"


def report_path(sweep_dir: Path) -> Path:
    """The sweep as a page for a browser."""
    return sweep_dir / "report.html"


def outputs_path(sweep_dir: Path) -> Path:
    """Which change of the ledger the tables and the report show; see `results/files.py`."""
    return sweep_dir / "outputs.json"


def study_path(sweep_dir: Path) -> Path:
    """The sweep as an Optuna study, where it is exported without naming a file."""
    return sweep_dir / "study.db"


def trials_dir(sweep_dir: Path) -> Path:
    """Holds a folder for each trial."""
    return sweep_dir / "trials"


def trial_dir(sweep_dir: Path, number: int) -> Path:
    """The folder of a trial; the processes that train it make it."""
    return trials_dir(sweep_dir) / f"{number:04d}"


def log_path(sweep_dir: Path, number: int) -> Path:
    """What a trial prints, and what hpsearch says about it."""
    return trial_dir(sweep_dir, number) / "log.txt"


def processes_path(sweep_dir: Path, number: int) -> Path:
    """The processes that train a trial now; see `slots/process_file.py`."""
    return trial_dir(sweep_dir, number) / "processes.json"


def checkpoint_dir(sweep_dir: Path, number: int) -> Path:
    """Where the ranks of a trial write its checkpoints."""
    return trial_dir(sweep_dir, number) / "checkpoint"


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file so that readers find the old one or the whole new one at every instant, also after a crash.

    The block writes to another path, in a new folder `.NAME.new-XXXXXXXX` beside `path` that only this user can enter,
    so that no link of another user can be in its way. When the block ends without an error the new file takes the name
    `path`; a link of that name is replaced, not followed. After an error `path` is as it was. Several processes may
    write the same file: the last one to finish wins. A process holds a lock in its folder, which the system drops when
    the process dies; a folder that a killed process left is removed by the next write of the same file.

    Args:
        path: Where the file shall be; its folder exists.
        durable: Force the file to the disk before it takes its name: for what a power cut must not empty.

    Yields:
        The path to write to. Its suffix is that of `path`, by which some libraries choose a format.

    Raises:
        OSError: The file can't be written; the disk is full, say.
    """
    prefix = f".{path.name[:50]}.new-"  # cut, so that a long name leaves room for the rest
    for left in path.parent.glob(f"{glob.escape(prefix)}*"):
        if not left.is_symlink():
            _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        with _held(folder):
            beside = folder / f"new{path.suffix}"
            yield beside
            if durable:
                with beside.open("rb") as file:
                    os.fsync(file.fileno())
            beside.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a new folder. Its file is locked before it is named `lock`, so that no process finds it free."""
    with (folder / "lock.new").open("wb") as file:
        with suppress(OSError):  # a file system without locks: `_remove_if_left` finds none either, and removes nothing
            fcntl.flock(file, fcntl.LOCK_EX)
        (folder / "lock.new").rename(folder / "lock")
        yield


def _remove_if_left(folder: Path) -> None:
    """Remove the folder of a process that was killed; not if its lock is held, or not made yet."""
    with suppress(OSError):  # it is held, or was removed just now
        file = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(file)


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a whole file in one step; see `replacing`.

    Args:
        path: Where the file shall be; its folder exists.
        content: The content; text is written as UTF-8.
        durable: See `replacing`.

    Raises:
        OSError: It can't be written.
    """
    with replacing(path, durable=durable) as beside:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
