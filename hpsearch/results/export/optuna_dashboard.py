"""Serves one sweep of the ledger in optuna-dashboard, of any method, also while it runs; the ledger is only read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpsearch.errors import HpsearchError, LedgerError
from hpsearch.ledger.records import ReportRecord, SweepRecord, TrialRecord
from hpsearch.ledger.store import Ledger

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

HOST = "127.0.0.1"
"""The page has no password, so it is served to this machine only."""
IMPORTANCES_PATH = "/api/studies/0/param_importances"
"""Where the page requests importances; we answer with our own. Optuna's use completed trials only, which misleads
under a stopping rule: of 64 trials in which the learning rate decides, three were trained to the end, and among those
momentum mattered most (0.83)."""
LOOK_S = 2.0
"""Seconds between two reads of the ledger while a page is open."""
INSTALL = "pip install optuna-dashboard"
"""The command that a message offers if the package is missing."""

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application (PEP 3333)."""


@contextmanager
def serving(home: Path, name: str | None, *, port: int) -> Iterator[tuple[WSGIServer, str]]:
    """A server that is bound to its port and not yet running; closed at the end of the block.

    Args:
        home: Folder of the ledger.
        name: The sweep; None for the newest.
        port: TCP port; 0 for any free one.

    Yields:
        The server, and the address of the sweep's page.

    Raises:
        HpsearchError: optuna-dashboard is not installed, or the port can't be used.
        UnknownSweep: There is no such sweep.
    """
    app = SweepApp(home, name)
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise HpsearchError(f"port {port} can't be used: {why}. Write --port 0 for any free one.") from None
    with server:
        yield server, f"http://{HOST}:{server.server_port}/dashboard/studies/0"


@final
class SweepApp:
    """The dashboard as a WSGI application, rebuilt whenever the sweep has changed in the ledger."""

    def __init__(self, home: Path, name: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the sweep for the first time.

        Args:
            home: Folder of the ledger.
            name: The sweep; None for the newest.
            clock: Seconds that never go back.

        Raises:
            HpsearchError: optuna-dashboard is not installed.
            UnknownSweep: There is no such sweep.
        """
        try:
            import optuna_dashboard  # noqa: F401 - fails here rather than at the first request
        except ModuleNotFoundError as error:
            raise HpsearchError(f"the verb `ui` needs {error.name}, which is not installed. Run: {INSTALL}") from None
        self._home, self._clock, self._lock = home, clock, threading.Lock()
        with Ledger(home) as ledger:
            self.name = ledger.sweep(name).name
        self._seen: object = None
        self._looked_at = 0.0
        self._app = self._current()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request; requests to change the study are refused, since changes would be lost."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(HTTPStatus.FORBIDDEN, "This page shows the sweep and changes nothing.", start_response)
        try:
            with self._lock:
                app = self._current()
        except LedgerError as error:
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error), start_response)
        return app(environ, start_response)

    def _current(self) -> WsgiApp:
        now = self._clock()
        if self._seen is not None and now - self._looked_at < LOOK_S:
            return self._app
        self._looked_at = now
        with Ledger(self._home) as ledger:
            record = ledger.sweep(self.name)
            trials, reports = ledger.trials(record), ledger.reports(record)
        seen = (record, trials, len(reports))
        if seen != self._seen:
            self._seen, self._app = seen, _dashboard(record, trials, reports)
        return self._app


def _dashboard(sweep: SweepRecord, trials: list[TrialRecord], reports: list[ReportRecord]) -> WsgiApp:
    """optuna-dashboard, with our importances in place of its own."""
    from hpsearch.results.analysis.importance import importance
    from hpsearch.results.export.optuna_study import frozen_trials

    found, frozen = importance(sweep, trials, reports), frozen_trials(sweep, trials, reports)
    ranges = {name: type(each).__name__ for trial in frozen for name, each in trial.distributions.items()}
    rows = [
        {"name": row.parameter, "importance": row.importance, "distribution": ranges[row.parameter]}
        for row in found.rows
        if row.parameter in ranges
    ]
    importances = json.dumps({"param_importances": [rows]}).encode()
    pages = _pages(sweep, frozen, note=found.sentence)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != IMPORTANCES_PATH:
            return pages(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [importances]

    return app


def _pages(sweep: SweepRecord, trials: Iterable[FrozenTrial], *, note: str) -> WsgiApp:
    from optuna.storages import InMemoryStorage
    from optuna_dashboard import wsgi

    from hpsearch.results.export.optuna_study import new_study
    from hpsearch.search.optuna_search import quiet

    storage = InMemoryStorage()
    with quiet():
        study = new_study(sweep, storage)
        study.set_user_attr("importance", note)
        study.add_trials(trials)
        pages: WsgiApp = wsgi(storage)
        return pages


def _refuse(status: HTTPStatus, why: str, start_response: Callable[..., Any]) -> list[bytes]:
    start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
    return [why.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a line for each request would be of no use."""
