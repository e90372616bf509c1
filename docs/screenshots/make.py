"""Makes the pictures of the guide: `python docs/screenshots/make.py [NAME ...]`, all of them without a name.

Needs the extra `dev` and a Chromium on the path. A picture is one function below that returns a PNG; it is kept as
`docs/screenshots/NAME.png`. What it shows is real: a sweep of formulas (`tests/support/curves.py`) or one that trains.
A picture of a program that is not there (JupyterLab, which `dev` does without) is left as it is, and that is said.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))

from hpsearch.results.export.optuna_dashboard import serving  # noqa: E402 - found by the line above
from tests.support import curves  # noqa: E402
from tests.support.browser import chromium  # noqa: E402
from tests.support.monitored import until, watched_sweep  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MAX_BYTES = 300_000
"""A picture is no larger: the repository carries every version of it for ever."""


@dataclass(frozen=True)
class Studio:
    """What a picture is made with."""

    browser: Browser
    """Headless Chromium."""
    folder: Path
    """Empty at the start and gone at the end; a place for a ledger."""

    @contextmanager
    def page(self, *, width: int = 1200, height: int = 750, scale: float = 1.0, **options: Any) -> Iterator[Page]:
        """A page in a browser of its own; sizes in CSS pixels, `scale` in pixels of the picture for each."""
        viewport: Any = {"width": width, "height": height}
        context = self.browser.new_context(viewport=viewport, device_scale_factor=scale, **options)
        yield context.new_page()
        context.close()

    def of_html(self, html: str, **page: Any) -> bytes:
        """A picture of a whole HTML text."""
        with self.page(**page) as shown:
            shown.set_content(html, wait_until="load")
            return shown.screenshot(full_page=True)

    def of_terminal(self, *printed: Any, columns: int = 110) -> bytes:
        """A picture of what rich prints on a terminal: texts, tables, anything that it can render."""
        from rich.console import Console

        with open("/dev/null", "w") as nowhere:
            console = Console(record=True, width=columns, file=nowhere, force_terminal=True, highlight=False)
            console.print(*printed, sep="\n")
        style = '<pre style="font: 14px/1.35 monospace; display: inline-block; margin: 12px">{code}</pre>'
        with self.page(width=columns * 9 + 24, height=100) as shown:
            shown.set_content(console.export_html(inline_styles=True, code_format=style))
            return shown.locator("pre").screenshot()


Picture = Callable[[Studio], bytes]
PICTURES: dict[str, Picture] = {}
PROGRAMS = {"jupyterlab": "jupyter-lab"}
"""What must be on the path for a picture."""


def picture(function: Picture) -> Picture:
    """Register a function as the picture of its name."""
    PICTURES[function.__name__.replace("_", "-")] = function
    return function


@picture
def results_in_a_notebook(studio: Studio) -> bytes:
    """What a cell shows that ends with a sweep's results."""
    from hpsearch.api.results import Results

    results = Results(studio.folder, curves.run(studio.folder))
    style = "<style>body {font: 13px sans-serif} td, th {padding: 3px 8px; text-align: right}</style>"
    return studio.of_html(style + results._repr_html_(), width=900, height=100)


@picture
def ray_dashboard(studio: Studio) -> bytes:
    """The page of the cluster while two trials train: which process is at which trial, epoch and metric."""
    with watched_sweep(studio.folder) as watched, studio.page(width=1500, height=1000, scale=0.8) as page:
        token = {"name": "ray-authentication-token", "value": watched.token, "url": watched.url}
        page.context.add_cookies([cast(Any, token)])
        page.goto(f"{watched.url}/#/cluster")
        for number in (1, 2):
            at_work = re.compile(rf"^ray::trial {number} epoch \d+ val_loss ")
            page.get_by_text(at_work).first.wait_for(timeout=120_000)
        return page.screenshot(full_page=True)


@picture
def optuna_dashboard(studio: Studio) -> bytes:
    """`hpsearch ui` on a sweep of 64 trials."""
    with serving(studio.folder, curves.run(studio.folder), port=0) as (server, address):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with studio.page(width=1300, height=1500, scale=0.8) as page:
            page.goto(address)
            page.locator(".plotly .main-svg").nth(3).wait_for(timeout=60_000)
            page.wait_for_load_state("networkidle")
            png = page.screenshot()
        server.shutdown()
        thread.join()
    return png


@picture
def report(studio: Studio) -> bytes:
    """The head of the report, its learning curves and what matters."""
    with _report(studio, width=1120, height=1480, scale=0.8) as page:
        return page.screenshot()


@picture
def report_on_a_phone(studio: Studio) -> bytes:
    """The same report as a phone shows it, four screens beside each other."""
    with _report(studio, width=390, height=844, scale=1.0, has_touch=True, is_mobile=True) as page:
        places = ["body", "#curves", "#slices", "#failures"]
        shots = []
        for place in places:
            page.locator(place).evaluate("e => e.scrollIntoView({behavior: 'instant'})")
            shots.append(page.screenshot())
    return _beside(studio, shots, width=390, height=844)


@picture
def learning_curves(studio: Studio) -> bytes:
    """What `results.plot.curves()` saves."""
    from hpsearch.api.results import Results

    results = Results(studio.folder, curves.run(studio.folder))
    return results.plot.curves().save(studio.folder / "curves.png").read_bytes()


@picture
def compared(studio: Studio) -> bytes:
    """What `hpsearch compare -o` draws."""
    from typer.testing import CliRunner

    from hpsearch.cli import app

    full = {"trials": 16, "epochs": 27, "concurrent": 4}
    sweeps: list[dict[str, Any]] = [
        {"name": "random", "seed": 1},
        {"name": "tpe", "seed": 2, "method": "optuna"},
        {"name": "without-asha", "seed": 3, "early_terminate": {"type": "none"}, "limits": full},
    ]
    names = [curves.run(studio.folder, **sweep) for sweep in sweeps]
    path = studio.folder / "compared.png"
    CliRunner().invoke(app, ["compare", *names, "-o", str(path), "--home", str(studio.folder)])
    return path.read_bytes()


@picture
def figures_in_a_notebook(studio: Studio) -> bytes:
    """What cells show that end with figures, in a notebook that does not draw plotly."""
    from hpsearch.api.results import Results

    plot = Results(studio.folder, curves.run(studio.folder)).plot
    cells = (("results.plot.importance()", plot.importance()), ("results.plot.parallel()", plot.parallel()))
    style = "<style>body {margin: 16px} pre {font: 13px monospace; background: #f4f6f8; padding: 6px}</style>"
    return studio.of_html(
        style + "".join(f"<pre>{code}</pre>{f._repr_html_()}" for code, f in cells), width=860, height=100
    )


@picture
def jupyterlab(studio: Studio) -> bytes:
    """A notebook in JupyterLab's dark theme: a sweep that has run below its cell, its results, a figure of plotly."""
    from tests.support.lab import serving_lab, write_notebook

    served, private = studio.folder / "served", studio.folder / "private"
    served.mkdir()
    private.mkdir()
    run = 'import hpsearch\n\nresults = hpsearch.run("mlp", trials=8)'
    write_notebook(served / "sweep.ipynb", [run, "results", "results.plot.curves()"])
    with (
        serving_lab(served, theme="JupyterLab Dark", private=private) as (url, token),
        studio.page(width=1000, height=1350, scale=0.8) as page,
    ):
        page.goto(f"{url}/doc/tree/sweep.ipynb?token={token}")
        page.get_by_text("Python 3 | Idle").wait_for(timeout=120_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.locator(".jp-Notebook .js-plotly-plot .main-svg").first.wait_for(timeout=300_000)
        page.get_by_text("Python 3 | Idle").wait_for(timeout=120_000)
        return page.screenshot()


@contextmanager
def _report(studio: Studio, **page: Any) -> Iterator[Page]:
    """The report of a sweep with failures, every picture drawn."""
    from hpsearch.api.results import Results

    with chdir(studio.folder):
        path = Results(Path("sweeps"), curves.run(Path("sweeps"))).report().resolve()
    with studio.page(**page) as shown:
        shown.goto(path.as_uri())
        shown.wait_for_selector("html.is-drawn", timeout=60_000)
        yield shown


def _beside(studio: Studio, pngs: list[bytes], *, width: int, height: int) -> bytes:
    """Pictures in a row."""
    from base64 import b64encode

    images = "".join(
        f'<img src="data:image/png;base64,{b64encode(png).decode()}" width="{width}" height="{height}">' for png in pngs
    )
    style = "<style>body {margin: 0; display: flex; gap: 16px; background: #c9d1d9; padding: 16px}</style>"
    return studio.of_html(style + images, width=len(pngs) * (width + 16) + 16, height=height, scale=0.62)


@picture
def watching_a_sweep(studio: Studio) -> bytes:
    """`hpsearch watch` while a sweep of small networks trains under ASHA."""
    from hpsearch.ledger.store import Ledger
    from hpsearch.live.follower import LedgerFollower
    from hpsearch.live.terminal import ProgressView
    from hpsearch.live.usage import Meter
    from hpsearch.live.watch_view import usage_extras

    settings = ("limits.trials=60", "limits.epochs=81", "early_terminate.type=asha", "method=optuna")
    command = [sys.executable, "-m", "hpsearch", "sweep", "mlp", "--home", str(studio.folder)]
    command += [word for setting in settings for word in ("--set", setting)]
    with subprocess.Popen(command, cwd=FOLDER.parents[1], stdout=subprocess.DEVNULL) as sweep:
        until((studio.folder / "mlp" / "live.json").exists, patience_s=120)
        with Ledger(studio.folder) as ledger:
            follower, meter = LedgerFollower(ledger, ledger.sweep()), Meter()

            def shows_much() -> bool:
                follower.refresh()
                trains = [trial for trial in follower.progress.running if trial.epochs > 3]
                return len(follower.trials) > 20 and bool(trains) and len(follower.processes) > 1

            until(shows_much, patience_s=120)
            meter.measure(follower.processes)
            time.sleep(0.5)
            extras = usage_extras(
                follower, meter.measure(follower.processes, follower.recorded and follower.recorded.driver)
            )
            png = studio.of_terminal(ProgressView(follower.progress, lambda: extras), columns=132)
        sweep.send_signal(signal.SIGINT)
    return png


def make(names: list[str]) -> None:
    """Make pictures; one that is too large, or has no function, ends the program."""
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        sys.exit(f"no such picture: {', '.join(unknown)}. There are: {', '.join(PICTURES)}.")
    with chromium() as browser:
        for name in names or PICTURES:
            if (program := PROGRAMS.get(name)) and shutil.which(program) is None:
                print(f"docs/screenshots/{name}.png: left as it is, there is no {program} on the path")
                continue
            with tempfile.TemporaryDirectory() as folder:
                png = PICTURES[name](Studio(browser, Path(folder)))
            if len(png) > MAX_BYTES:
                sys.exit(f"{name}: {len(png):,} bytes, {MAX_BYTES:,} are allowed. Make the page smaller.")
            (FOLDER / f"{name}.png").write_bytes(png)
            print(f"docs/screenshots/{name}.png: {len(png):,} bytes")


if __name__ == "__main__":
    make(sys.argv[1:])
