"""The journal of a sweep: a second record of every change, as text; a damaged ledger is rebuilt from it.

One line of `NAME/journal.jsonl` for each transaction, with a checksum, written before the ledger commits it. So the
journal holds everything that the ledger does, and at most one transaction more, whose commit a crash prevented; when
that is noticed, another line marks it as undone. The file is forced to the disk once a second, not with each commit as
the ledger is: a power cut may cost the journal its last second, but not the ledger at the same time.

    5d1f0c2a [["trial", 7, {"state": "running", "attempts": 2}], ["report", 7, 4, "{\\"val_loss\\": 0.31}", 12.5]]
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from hpsearch.errors import LedgerError
from hpsearch.links import IN_HOME, IN_SWEEP, check_unlinked, make_folder, open_file, read_file
from hpsearch.paths import journal_path

SYNC_S = 1.0
"""Seconds until a line is forced to the disk, if `tick` is called often; forcing takes a few milliseconds."""
END_BYTES = 4096
"""Bytes at the end of a journal by which `last_change` recognises it, besides its size."""
Entry = list[Any]
"""One change: `["sweep", columns]`, `["trial", number, columns]`, `["report", number, epoch, metrics, elapsed_s]`,
`["failure", number, columns]` or `["forgiven", number]` (the trial's failures so far no longer count), with values as
the ledger's columns have them. Alone in its line, `["undone", checksum]` undoes the transaction before it."""
Transaction = list[Entry]
"""The changes that the ledger commits together; one line of the journal."""


@final
class Journal:
    """Writes the journals of all sweeps that one process runs; a journal is made with its first line.

    A transaction is a sequence of calls: `append` for each change, `write`, then the ledger commits, then `committed`;
    or `rollback` if it does not commit.
    """

    def __init__(
        self,
        home: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        opened: Callable[[Path], None] = lambda path: None,
    ) -> None:
        """Prepare; no file is opened yet.

        Args:
            home: Folder of the ledger.
            clock: Seconds that never go back.
            opened: Called with the path of each journal that was opened.
        """
        self._home, self._clock, self._opened = home, clock, opened
        self._unforced: set[str] = set()
        self._unforced_since = 0.0
        self._appended: dict[str, Transaction] = {}
        self._files: dict[str, int] = {}
        self._uncommitted: dict[str, Transaction] = {}

    def append(self, folder: str, kind: str, *values: Any) -> None:
        """Add a change to the transaction that `write` will write; see `Entry`.

        Args:
            folder: The sweep's folder, relative to the ledger's.
            kind: What changed.
            values: The rest of the entry, as JSON can hold it.
        """
        self._appended.setdefault(folder, []).append([kind, *values])

    def write(self) -> None:
        """Write the appended changes as one line for each sweep; to be called before the ledger commits the same.

        Raises:
            OSError: They can't be written; the disk is full, say.
        """
        while self._appended:
            folder, transaction = next(iter(self._appended.items()))
            self._write_line(folder, transaction)
            self._uncommitted[folder] = self._appended.pop(folder)

    def committed(self) -> None:
        """Note that the ledger has committed what was written."""
        self._uncommitted = {}

    def tick(self) -> None:
        """Force lines to the disk that are older than SYNC_S; to be called a few times a second.

        Raises:
            OSError: They can't be written.
        """
        if self._unforced and self._clock() - self._unforced_since >= SYNC_S:
            self._force()

    def rollback(self) -> None:
        """Drop what was appended, and mark as undone what was written: the ledger has not committed it.

        Raises:
            OSError: The mark can't be written; the next `rollback` tries again.
        """
        self._appended = {}
        while self._uncommitted:
            folder, transaction = next(iter(self._uncommitted.items()))
            self.mark_undone(folder, transaction)
            del self._uncommitted[folder]

    def mark_undone(self, folder: str, transaction: Transaction) -> None:
        """Record that the last transaction of a sweep was never committed.

        Raises:
            OSError: The line can't be written.
        """
        self._write_line(folder, [["undone", checksum(transaction)]])

    def forget(self, folder: str) -> None:
        """Remove the journal of a sweep that was removed from the ledger."""
        self._close(folder)
        check_unlinked(self._home / folder, parts=IN_HOME)
        journal_path(self._home / folder).unlink(missing_ok=True)

    def close(self) -> None:
        """Force what is left to the disk, as far as that is possible, and close the files."""
        with suppress(OSError):
            self._force()
        for folder in list(self._files):
            self._close(folder)

    def _write_line(self, folder: str, transaction: Transaction) -> None:
        line = b"%s %s\n" % (checksum(transaction).encode(), json.dumps(transaction).encode())
        if os.write(self._open(folder), line) < len(line):  # readers recognise a torn line by its checksum
            self._close(folder)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(journal_path(self._home / folder)))
        if not self._unforced:
            self._unforced_since = self._clock()
        self._unforced.add(folder)

    def _force(self) -> None:
        for folder in list(self._unforced):
            if folder in self._files:
                os.fdatasync(self._files[folder])
            self._unforced.discard(folder)

    def _open(self, folder: str) -> int:
        if folder not in self._files:
            path = journal_path(self._home / folder)
            make_folder(path.parent, parts=IN_HOME)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            self._files[folder] = file = open_file(path, flags, parts=IN_SWEEP)
            self._opened(path)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # the last writer was killed in the middle of a line
                os.write(file, b"\n")
        return self._files[folder]

    def _close(self, folder: str) -> None:
        if folder in self._files:
            os.close(self._files.pop(folder))


def checksum(transaction: Transaction) -> str:
    """CRC-32 of a transaction's text, as eight hexadecimal digits."""
    return f"{zlib.crc32(json.dumps(transaction).encode()):08x}"


def last_change(folder: Path) -> str | None:
    """What distinguishes the present state of a sweep's journal from its earlier ones: its size and the sum of its end.

    Every change of the ledger is in the journal first, and lines are only added. So where this is the same at two
    moments at which no transaction is open, the ledger has the same of the sweep.

    Args:
        folder: The sweep's folder.

    Returns:
        Some digits; None where there is no journal, or it can't be read.
    """
    try:
        file = open_file(journal_path(folder), os.O_RDONLY | os.O_NONBLOCK, parts=IN_SWEEP)
    except OSError:
        return None
    try:
        size = os.fstat(file).st_size
        return f"{size} {zlib.crc32(os.pread(file, END_BYTES, max(size - END_BYTES, 0))):08x}"
    except OSError:
        return None
    finally:
        os.close(file)


def read_journal(folder: Path) -> tuple[list[Transaction], int]:
    """The transactions of a sweep's journal, and how many of its lines are damaged.

    Args:
        folder: The sweep's folder.

    Returns:
        The whole transactions in their order, without those that were undone; and the number of lines whose checksum
        is wrong. An empty list and 0 where there is no journal.
    """
    sums: list[bytes] = []
    texts: list[bytes] = []
    damaged = 0
    try:
        content = read_file(journal_path(folder), parts=IN_SWEEP)
    except FileNotFoundError:
        return [], 0
    for line in content.split(b"\n"):
        stated, _, text = line.partition(b" ")
        if stated != b"%08x" % zlib.crc32(text):
            damaged += bool(line)
        elif text.startswith(b'[["undone"'):
            ((_, undone),) = json.loads(text)
            if sums and sums[-1] == undone.encode():
                del sums[-1], texts[-1]
        else:
            sums.append(stated)
            texts.append(text)
    return json.loads(b"[%s]" % b",".join(texts)), damaged  # one call: a call for each line costs more than the lines


@final
class SweepCopy:
    """A sweep as its journal has it: the newest value of each column, the last report of each epoch."""

    def __init__(self, transactions: Iterable[Transaction], *, folder: Path) -> None:
        """Apply transactions in their order.

        Args:
            transactions: As `read_journal` gives them.
            folder: The sweep's folder, for messages.

        Raises:
            LedgerError: An entry is of a kind that this version does not know.
        """
        self.sweep: dict[str, Any] = {}
        """The sweep's columns."""
        self.trials: dict[int, dict[str, Any]] = {}
        """Trial's number to its columns."""
        self.failures: dict[int, list[dict[str, Any]]] = {}
        """Trial's number to the columns of its failed attempts."""
        self.reports: dict[int, dict[int, tuple[int, str, float]]] = {}
        """Trial's number to epoch to (position among all reports, metrics as JSON, elapsed_s)."""
        self._num_reports = 0
        apply: Mapping[str, Callable[..., None]] = {
            "sweep": self._apply_sweep,
            "trial": self._apply_trial,
            "report": self._apply_report,
            "failure": self._apply_failure,
            "forgiven": self._apply_forgiven,
        }
        for transaction in transactions:
            for kind, *values in transaction:
                if kind not in apply:
                    raise LedgerError(
                        f"{journal_path(folder)}: the journal has an entry of the unknown kind {kind!r}, so a newer"
                        " version of hpsearch wrote it. Upgrade hpsearch."
                    )
                apply[kind](*values)

    def drop_unknown_points(self) -> None:
        """Drop the trials whose first line is damaged, since their parameters are unknown."""
        whole = {number for number, values in self.trials.items() if "point" in values}
        for known in (self.trials, self.reports, self.failures):
            for number in known.keys() - whole:
                del known[number]

    def _apply_sweep(self, values: Mapping[str, Any]) -> None:
        self.sweep |= values

    def _apply_trial(self, number: int, values: Mapping[str, Any]) -> None:
        if "point" in values:  # a trial whose first line was never committed begins again
            self.trials[number], self.reports[number], self.failures[number] = {}, {}, []
        self.trials.setdefault(number, {}).update(values)
        if "epochs_trained" in values:  # reports beyond were never committed
            known, last = self.reports.get(number, {}), values["epochs_trained"]
            self.reports[number] = {epoch: report for epoch, report in known.items() if epoch <= last}

    def _apply_report(self, number: int, epoch: int, metrics: str, elapsed_s: float) -> None:
        self._num_reports += 1
        self.reports.setdefault(number, {})[epoch] = (self._num_reports, metrics, elapsed_s)

    def _apply_failure(self, number: int, values: dict[str, Any]) -> None:
        self.failures.setdefault(number, []).append(dict(values))

    def _apply_forgiven(self, number: int) -> None:
        for failure in self.failures.get(number, []):
            failure["counts"] = False
