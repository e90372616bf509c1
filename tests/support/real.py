"""A sweep of the diarist on real Ray, in a process of its own that a test can hurt."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.checker import MARK, Watch, processes_of, wait_until_gone
from tests.support.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
SPEC = """
name: victim
trainable: diarist.py:train
metric: {{name: loss, goal: minimize}}
method: {method}
parameters: {{x: {x}, epochs: {epochs}, epoch_s: {epoch_s}}}
early_terminate: {{type: {stopping}}}
limits: {{trials: {trials}, epochs: {epochs}}}
"""


class RealSweep:
    """One sweep and its folder; it may be started many times."""

    def __init__(
        self,
        folder: Path,
        *,
        method: str = "random",
        stopping: str = "none",
        trials: int = 4,
        epochs: int = 20,
        epoch_s: float = 0.1,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).with_name("diarist.py"), folder / "diarist.py")
        x = f"{{min: 0.0, max: 1.0, count: {trials}}}" if method == "grid" else "{min: 0.0, max: 1.0}"
        text = SPEC.format(x=x, method=method, stopping=stopping, trials=trials, epochs=epochs, epoch_s=epoch_s)
        (folder / "victim.yaml").write_text(text)
        self.folder, self.home, self.mark = folder, folder / "sweeps", uuid.uuid4().hex
        self.watch = Watch(self.home, "victim", folder / "diary.txt")
        self.process: subprocess.Popen[bytes] | None = None
        self._console_path = folder / "console.txt"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the command line in the sweep's folder; without arguments, the sweep."""
        command = [sys.executable, "-m", "hpsearch", *(arguments or ("sweep", "victim.yaml"))]
        with self._console_path.open("wb") as console:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), MARK: self.mark},
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.process

    def wait(self, timeout_s: float = 600) -> tuple[int, str]:
        """Its exit code and what it printed."""
        assert self.process is not None
        return self.process.wait(timeout_s), self.console()

    def console(self) -> str:
        """What it has printed so far."""
        return self._console_path.read_text()

    def run(self, *arguments: str) -> tuple[int, str]:
        """Start and wait."""
        self.start(*arguments)
        return self.wait()

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until a condition is true; it is an error if the process ends before."""
        until(condition, patience_s=300, process=self.process, output=lambda: f"{what}: {self.console()}")

    def hold_at(self, epoch: int) -> None:
        """No trial trains beyond this epoch until `let_go`: the sweep can not end before a test has done its part."""
        beside = self.folder / ".hold"
        beside.write_text(str(epoch))
        beside.replace(self.folder / "hold")

    def let_go(self) -> None:
        """Trials train to their ends again."""
        (self.folder / "hold").unlink()

    def train_until(self, condition: Callable[[], Any], what: str) -> None:
        """Let trials train epoch by epoch, all on record, until something is so, and hold them there."""
        for epoch in itertools.count(1):
            self.hold_at(epoch)
            self.wait_for(partial(self._all_are_at, epoch), f"epoch {epoch} of all that run, and {what}")
            if condition():
                return

    def _all_are_at(self, epoch: int) -> bool:
        reports, rows = self.watch.reports(), self.watch.rows()
        running = [len(reports.get(row.number, ())) for row in rows if row.state == "running"]
        return bool(running) and set(running) == {epoch}

    def epochs_on_record(self) -> int:
        """Reports in the ledger."""
        return sum(len(reports) for reports in self.watch.reports().values())

    def attempts_begun(self) -> int:
        """Attempts in the diary."""
        return sum(kind == "begin" for _, kind, _ in self.watch.diary_lines())

    def wait_for_epochs(self, number: int) -> None:
        """Until that many more reports are on record."""
        wanted = self.epochs_on_record() + number
        self.wait_for(lambda: self.epochs_on_record() >= wanted, f"{number} more epochs")

    def daemon(self, name: str) -> int:
        """Process id of a daemon of the sweep's own Ray: `raylet` or `gcs_server`."""
        found = [pid for pid in processes_of(self.mark) if Path(f"/proc/{pid}/comm").read_text().strip() == name]
        assert len(found) == 1, (name, found)
        return found[0]

    def kill(self) -> None:
        """Kill -9 of the driver alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_everything(self) -> None:
        """Kill -9 of every process at once, as when the power goes."""
        for pid in processes_of(self.mark) | processes_of(self.mark, agents=True):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert self.process is not None
        self.process.wait()

    def left_over(self, *, within_s: float = PATIENCE_S, agents: bool = False) -> dict[int, str]:
        """Processes that are alive so much later, Ray's agents or all others; empty as soon as none is."""
        return wait_until_gone(self.mark, within_s=within_s, agents=agents)

    def close(self) -> None:
        """For a test that fails in the middle."""
        if self.process is not None and self.process.poll() is None:
            self.kill_everything()
