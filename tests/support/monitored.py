"""A sweep that trains as long as somebody looks at it: a process of its own, with a Ray and a dashboard of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.support.waiting import PATIENCE_S, until

T = TypeVar("T")

TRAIN = '''
import itertools, math, os, time
from pathlib import Path

def train(config):
    """Epochs of a third of a second until the file `enough` is there."""
    for epoch in itertools.count(1):
        time.sleep(0.3)
        print("epoch", epoch, "is done", flush=True)
        yield {"val_loss": 0.1 + abs(math.log10(config["lr"]) + 2) + 1.5 / epoch}
        if Path(__file__).with_name("enough").exists():
            return
'''
SPEC = """
name: watched
trainable: train.py:train
metric: {name: val_loss, goal: minimize}
method: random
parameters: {lr: {min: 1e-4, max: 1.0, log: true}, width: {values: [16, 32, 64]}, optimizer: {values: [sgd, adamw]}}
resources: {gpu: 0}
limits: {trials: 2, concurrent: 2}
"""


@dataclass(frozen=True)
class Watched:
    """A running sweep as somebody outside of it sees it."""

    name: str
    folder: Path
    """Where it was started; the ledger is in `sweeps` below it."""
    url: str
    """The dashboard."""
    process: subprocess.Popen[str]

    @property
    def token(self) -> str:
        """What the dashboard asks for."""
        return (Path.home() / ".ray" / "auth_token").read_text().strip()

    def api(self, path: str) -> Any:
        """What the dashboard's HTTP interface answers, as JSON."""
        return json.loads(self.get(f"{self.url}{path}"))

    def get(self, url: str) -> str:
        """Any page, with the token."""
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def metrics(self) -> str:
        """What Prometheus would read."""
        targets = json.loads((self.folder / "sweeps" / ".monitoring" / f"{self.name}.json").read_text())
        return self.get(f"http://{targets[0]['targets'][0]}/metrics")


def until_seen(look: Callable[[], T]) -> T:
    """Wait for what Ray or hpsearch publishes: a page or a file that is missing or incomplete counts as not yet."""
    return until(look, ignore=(OSError, KeyError, IndexError, ValueError), every_s=0.2)


@contextmanager
def watched_sweep(folder: Path, **environment: str) -> Iterator[Watched]:
    """Start the sweep in an empty folder, with more environment variables; it ends in good order with the block."""
    (folder / "train.py").write_text(textwrap.dedent(TRAIN))
    (folder / "watched.yaml").write_text(SPEC)
    with (folder / "console.txt").open("w") as console:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["python", "-m", "hpsearch", "sweep", "watched.yaml"]  # the dashboard shows the first word
        environment = {**os.environ, "PATH": path, **environment}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=console, stderr=subprocess.STDOUT, text=True
        )

    def printed() -> str:
        return (folder / "console.txt").read_text()

    def address() -> re.Match[str] | None:
        return re.search(r"Ray dashboard: (\S+)", printed())

    try:
        yield Watched("watched", folder, until(address, process=process, output=printed)[1], process)  # type: ignore[index]
    finally:
        (folder / "enough").touch()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
