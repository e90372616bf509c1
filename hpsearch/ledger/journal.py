"""What the ledger is told about a sweep, once more, as text: `NAME/journal.jsonl`; a damaged ledger is rebuilt from it.

One line for each transaction, with a checksum, written before the ledger commits it: so the journal holds everything
that the ledger does, and at most one transaction more, whose commit a crash prevented; once that is noticed, a line
after it takes it back. It is forced to the disk once a second, not with each commit as the ledger is: a power cut may
cost its last second, though not that of the ledger at the same time.

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

from hpsearch.paths import journal_path

SYNC_S = 1.0
"""What was written is on the disk so much later, if `tick` is called often; each time costs a few milliseconds."""
Entry = list[Any]
"""`["sweep", columns]`, `["trial", number, columns]`, `["report", number, epoch, metrics, elapsed_s]`,
`["failure", number, columns]`, `["forgiven", number]`; values as the ledger's columns have them. Alone in its line,
`["undone", checksum]` takes the transaction before it back."""
Transaction = list[Entry]


@final
class Journal:
    """The journals of all sweeps that one process writes; a file is made with its first line."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._home, self._clock = home, clock
        self._unforced: set[str] = set()
        self._unforced_since = 0.0
        self._told: dict[str, Transaction] = {}
        self._files: dict[str, int] = {}
        self._undecided: dict[str, Transaction] = {}

    def append(self, folder: str, kind: str, *values: Any) -> None:
        """One change, which is part of the transaction that `write` writes."""
        self._told.setdefault(folder, []).append([kind, *values])

    def write(self) -> None:
        """Write what was told; to be called before the ledger commits the same.

        Raises:
            OSError: It can't be written; the disk is full, say.
        """
        while self._told:
            folder, transaction = next(iter(self._told.items()))
            self._write_line(folder, transaction)
            self._undecided[folder] = self._told.pop(folder)

    def committed(self) -> None:
        """The ledger has committed what was written."""
        self._undecided = {}

    def tick(self) -> None:
        """To be called a few times a second: forces to the disk what has not been for SYNC_S.

        Raises:
            OSError: It can't be written.
        """
        if self._unforced and self._clock() - self._unforced_since >= SYNC_S:
            self._force()

    def rollback(self) -> None:
        """The ledger has not committed what was told or written.

        Raises:
            OSError: It can't be written; it is then still to be taken back.
        """
        self._told = {}
        while self._undecided:
            folder, transaction = next(iter(self._undecided.items()))
            self.mark_undone(folder, transaction)
            del self._undecided[folder]

    def mark_undone(self, folder: str, transaction: Transaction) -> None:
        """Say of a sweep's last transaction that it never took place."""
        self._write_line(folder, [["undone", checksum(transaction)]])

    def forget(self, folder: str) -> None:
        """A sweep is taken out of the ledger, and its journal goes."""
        self._close(folder)
        journal_path(self._home / folder).unlink(missing_ok=True)

    def close(self) -> None:
        """Force what is left to the disk, as far as it goes, and let go of the files."""
        with suppress(OSError):
            self._force()
        for folder in list(self._files):
            self._close(folder)

    def _write_line(self, folder: str, transaction: Transaction) -> None:
        line = b"%s %s\n" % (checksum(transaction).encode(), json.dumps(transaction).encode())
        if os.write(self._open(folder), line) < len(line):  # a torn line is told from others by its checksum
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
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._files[folder] = file = os.open(path, flags, 0o644)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # the last writer was killed in the middle of a line
                os.write(file, b"\n")
        return self._files[folder]

    def _close(self, folder: str) -> None:
        if folder in self._files:
            os.close(self._files.pop(folder))


def checksum(transaction: Transaction) -> str:
    """Of a transaction's text: eight hexadecimal digits."""
    return f"{zlib.crc32(json.dumps(transaction).encode()):08x}"


def read_journal(folder: Path) -> tuple[list[Transaction], int]:
    """A journal's whole transactions in their order, without those taken back, and how many lines are damaged."""
    sums: list[bytes] = []
    texts: list[bytes] = []
    damaged = 0
    try:
        content = journal_path(folder).read_bytes()
    except FileNotFoundError:
        return [], 0
    for line in content.split(b"\n"):
        told, _, text = line.partition(b" ")
        if told != b"%08x" % zlib.crc32(text):
            damaged += bool(line)
        elif text.startswith(b'[["undone"'):
            ((_, undone),) = json.loads(text)
            if sums and sums[-1] == undone.encode():
                del sums[-1], texts[-1]
        else:
            sums.append(told)
            texts.append(text)
    return json.loads(b"[%s]" % b",".join(texts)), damaged  # as one: a call for each line costs more than the lines


class SweepCopy:
    """What a journal says, put together: the newest value of each column, each epoch's last report."""

    def __init__(self, transactions: Iterable[Transaction]) -> None:
        self.sweep: dict[str, Any] = {}
        self.trials: dict[int, dict[str, Any]] = {}
        self.failures: dict[int, list[dict[str, Any]]] = {}
        self.reports: dict[int, dict[int, tuple[int, str, float]]] = {}
        """Trial to epoch to (place among all reports, metrics as JSON, elapsed_s)."""
        self._place = 0
        for transaction in transactions:
            for kind, *values in transaction:
                getattr(self, f"_take_{kind}")(*values)

    def leave_out_headless(self) -> None:
        """Trials whose first line is damaged, which says what they tried, are no part of the copy any more."""
        whole = {number for number, values in self.trials.items() if "point" in values}
        for known in (self.trials, self.reports, self.failures):
            for number in known.keys() - whole:
                del known[number]

    def _take_sweep(self, values: Mapping[str, Any]) -> None:
        self.sweep |= values

    def _take_trial(self, number: int, values: Mapping[str, Any]) -> None:
        if "point" in values:  # a trial whose first line was never committed begins again
            self.trials[number], self.reports[number], self.failures[number] = {}, {}, []
        self.trials.setdefault(number, {}).update(values)
        if "epochs_trained" in values:  # reports beyond were never committed
            known, last = self.reports.get(number, {}), values["epochs_trained"]
            self.reports[number] = {epoch: report for epoch, report in known.items() if epoch <= last}

    def _take_report(self, number: int, epoch: int, metrics: str, elapsed_s: float) -> None:
        self._place += 1
        self.reports.setdefault(number, {})[epoch] = (self._place, metrics, elapsed_s)

    def _take_failure(self, number: int, values: dict[str, Any]) -> None:
        self.failures.setdefault(number, []).append(dict(values))

    def _take_forgiven(self, number: int) -> None:
        for failure in self.failures.get(number, []):
            failure["counts"] = False
