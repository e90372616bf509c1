"""optuna-dashboard on one sweep of the ledger, whatever its method, also while it runs; the ledger is only read."""

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
"""The page has no password, so that no other machine may see it."""
IMPORTANCES_PATH = "/api/studies/0/param_importances"
"""What the page asks for importances. Its own are of completed trials alone, which misleads under a stopping rule:
of 64 trials whose learning rate decides, three were trained to the end, and by those momentum mattered most (0.83)."""
LOOK_S = 2.0
"""Seconds between two looks at the ledger while somebody looks at the page."""
INSTALL = "pip install optuna-dashboard"

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@contextmanager
def serving(home: Path, name: str | None, *, port: int) -> Iterator[tuple[WSGIServer, str]]:
    """A server that is bound and not yet running; closed at the end.

    Args:
        home: Folder of the ledger.
        name: The sweep; None for the newest.
        port: 0 for any free one.

    Yields:
        The server, and the address of the sweep's page.

    Raises:
        HpsearchError: optuna-dashboard is not installed, or the port can't be had.
        UnknownSweep: There is no such sweep.
    """
    app = SweepApp(home, name)
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise HpsearchError(f"port {port} can't be had: {why}. Write --port 0 for any free one.") from None
    with server:
        yield server, f"http://{HOST}:{server.server_port}/dashboard/studies/0"


@final
class SweepApp:
    """The dashboard as a WSGI application, made anew whenever the ledger has news."""

    def __init__(self, home: Path, name: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the sweep for the first time; `clock` gives seconds that never go back."""
        try:
            import optuna_dashboard  # noqa: F401 - who can't serve says so at once
        except ModuleNotFoundError as error:
            raise HpsearchError(f"hpsearch ui needs {error.name}, which is not installed. Run: {INSTALL}") from None
        self._home, self._clock, self._lock = home, clock, threading.Lock()
        with Ledger(home) as ledger:
            self.name = ledger.sweep(name).name
        self._seen: object = None
        self._looked_at = 0.0
        self._app = self._current()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer; what would change a study is refused, since it would not last."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(HTTPStatus.FORBIDDEN, "hpsearch ui shows the sweep and changes nothing.", start_response)
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
    """Optuna's pages, with our importances."""
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
        """Nothing: a line for each request tells nobody anything."""
