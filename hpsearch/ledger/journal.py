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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from hpsearch.ledger.sweep_copy import SweepCopy, events_in_order
from hpsearch.links import IN_HOME, IN_SWEEP, make_folder, open_file, read_file
from hpsearch.paths import journal_path

SYNC_S = 1.0
"""Seconds until a line is forced to the disk, if `tick` is called often; forcing takes a few milliseconds."""
END_BYTES = 4096
"""Bytes at the end of a journal by which `last_change` recognises it, besides its size."""
Entry = list[Any]
"""One change: `["sweep", columns]`, `["trial", number, columns]`, `["report", number, epoch, metrics, elapsed_s]`,
`["failure", number, columns]`, `["forgiven", number]` (the trial's failures so far no longer count) or
`["forgotten", started_at]` (the sweep that began then was removed, and all before is void), with values as the ledger's
columns have them. Alone in its line, `["undone", checksum]` undoes the transaction before it."""
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

    def release(self, folder: str) -> None:
        """Force the journal of a sweep to the disk and close it, before its folder is moved or removed.

        Raises:
            OSError: It can't be forced.
        """
        if folder in self._files:
            os.fdatasync(self._files[folder])
            self._unforced.discard(folder)
            self._close(folder)

    def close(self) -> None:
        """Force what is left to the disk, as far as that is possible, and close the files."""
        with suppress(OSError):
            self._force()
        for folder in list(self._files):
            self._close(folder)

    def _write_line(self, folder: str, transaction: Transaction) -> None:
        line = line_of(transaction)
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


def line_of(transaction: Transaction) -> bytes:
    """The line of a transaction, with its checksum and its newline."""
    return b"%s %s\n" % (checksum(transaction).encode(), json.dumps(transaction).encode())


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
            if sums and text == b'[["undone", "%s"]]' % sums[-1]:
                del sums[-1], texts[-1]
        else:
            sums.append(stated)
            texts.append(text)
    try:
        found = json.loads(b"[%s]" % b",".join(texts))  # one call: a call for each line costs more than the lines
    except (ValueError, RecursionError):  # a file that hpsearch did not write, since the checksums are right
        found = [_decoded(text) for text in texts]
    whole = [
        each for each in found if isinstance(each, list) and all(isinstance(entry, list) and entry for entry in each)
    ]
    return whole, damaged + len(found) - len(whole)


def journal_of(copy: SweepCopy) -> bytes:
    """A journal that gives this copy, with a line for each change, so that a damaged line costs as little as it can.

    Trials begin, report and end in the order of the copy, which `event_order.py` reads.

    Args:
        copy: A sweep; its columns have its name and folder.
    """
    changes: list[Entry] = [["forgotten", started_at] for started_at in sorted(copy.forgotten)]
    first = {"spec": copy.specs[0][1]} if copy.specs else {}
    changes += [["sweep", copy.sweep | first]] if copy.sweep else []
    begun: set[int] = set()
    for kind, number, epoch in events_in_order(copy):
        if kind == "spec":
            changes += [["sweep", {"spec": copy.specs[number][1]}]] if number else []
            continue
        row = copy.trials[number]
        if number not in begun:  # the line with the parameters voids those before, where a source lacked it
            changes.append(["trial", number, {name: value for name, value in row.items() if name != "ended_at"}])
            begun.add(number)
        if kind == "report":
            changes.append(["report", number, epoch, *copy.reports[number][epoch][1:]])
        elif kind == "end":
            changes.append(["trial", number, {"ended_at": row["ended_at"]}])
    if copy.specs and copy.specs[-1][1] != copy.sweep["spec"]:
        changes.append(["sweep", {"spec": copy.sweep["spec"]}])
    failures = sorted((position, number, row) for number, rows in copy.failures.items() for position, row in rows)
    changes += [["failure", number, row] for _, number, row in failures]
    return b"".join(line_of([change]) for change in changes)


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
