"""Renames a sweep for the user, and writes its tables and its report again, which have the name in them."""

from __future__ import annotations

from pathlib import Path

from hpsearch.driver.write_results import write_results
from hpsearch.errors import SweepExists
from hpsearch.ledger.agreement import check_sweep
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.store import Ledger
from hpsearch.ledger.sweep_files import check_not_gone, is_left, remove_folder
from hpsearch.paths import report_path, trials_csv_path


def rename(home: Path, name: str, new_name: str) -> None:
    """Rename a sweep and its folder.

    Args:
        home: Folder of the ledger.
        name: The sweep.
        new_name: A name that no sweep of the ledger has.

    Raises:
        UnknownSweep: There is no sweep of that name.
        SpecError: The new one is no name for a sweep.
        SweepExists: Another sweep has the new name, or there is a file or a folder of that name.
        SweepInUse: A process runs the sweep.
        LinkRefused: A folder of the sweep or of one of its trials is a link.
        LedgerError: The ledger or the journal is damaged or can't be written, or the folder can't be moved or was
            removed.
    """
    with Ledger(home) as reader:
        reader.sweep(name)
    with Ledger(home, create=True) as ledger:
        sweep = ledger.sweep(name)
        if ledger.find_sweep(new_name) is not None:
            raise SweepExists(f"a sweep named '{new_name}' is in {ledger.path} already. Choose another name.")
        check_not_gone(home, sweep)
        if is_left(home, new_name):
            with writer_lock(home / new_name, new_name, task="forget"):
                remove_folder(home / new_name)
        with writer_lock(home / sweep.folder, name, task="rename"):
            check_sweep(ledger, sweep)
            renamed = ledger.rename_sweep(sweep, new_name)
            folder = home / renamed.folder
            if any(path.exists() for path in (trials_csv_path(folder), report_path(folder))):
                write_results(ledger, new_name)
