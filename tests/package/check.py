"""Check what is built for other people: its files, an installation into an empty environment, and a sweep from there.

`make package` calls it with the folder of a wheel and an sdist and with the path of an environment to make. It is no
test of pytest: the sweep must see neither the checkout nor the environment that the tests run in. It needs the
standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
IN_SDIST = (
    "hpsearch/results/html/report.js",
    "hpsearch/py.typed",
    "search_spaces/mlp.yaml",
    "experiments/mlp.py",
    "benchmarks/__init__.py",
    "tests/conftest.py",
    "tests/ledgers/version-1.db",
    "docs/spec.md",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "constraints.txt",
    "pyproject.toml",
)
"""One file of each part of the sdist: whoever has it can run the tests."""
TRAIN = """
import torch

import hpsearch


def train(config):
    inputs = torch.linspace(-1.0, 1.0, 64).unsqueeze(1)
    table = torch.utils.data.TensorDataset(inputs, 3.0 * inputs)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    yield from hpsearch.fit(
        model, table, table, loss=torch.nn.functional.mse_loss, optimizer=optimizer, batch_size=16
    )
"""
SPEC = """
name: small
trainable: train.py:train
metric: {name: val_loss, goal: minimize}
method: optuna
parameters: {lr: {min: 1e-3, max: 1.0, log: true}}
limits: {trials: 3, epochs: 2}
"""


def main() -> None:
    """Check the wheel and the sdist of a folder (first argument) in an environment that is made (second argument)."""
    built, environment = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    began = time.monotonic()
    install(wheel, environment)
    install_s = time.monotonic() - began
    check_sweep(environment)
    sweep_s = time.monotonic() - began - install_s
    print(f"{wheel.name}: installed in {install_s:.0f} s, a sweep of 3 trials in {sweep_s:.0f} s")


def check_wheel(path: Path) -> None:
    """The package with its data files, and nothing else."""
    package = ROOT / "hpsearch"
    wanted = {
        str(file.relative_to(ROOT)) for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(path) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted, f"missing: {sorted(wanted - found)}; too many: {sorted(found - wanted)}"


def check_sdist(path: Path) -> None:
    """All that is needed to build the package, to read its docs and to run its tests."""
    with tarfile.open(path) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert found.issuperset(IN_SDIST), f"missing: {sorted(set(IN_SDIST) - found)}"


def install(wheel: Path, environment: Path) -> None:
    """Install the wheel with its dependencies into an environment that holds nothing else.

    Raises:
        FileExistsError: There is something in the way; an environment with other packages would hide what is missing.
    """
    if environment.exists():
        raise FileExistsError(f"{environment} is there already; it would not be empty. Remove it, or name another.")
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)


def check_sweep(environment: Path) -> None:
    """Run a sweep in a folder far from the checkout, read its tables, and look at the report."""
    with tempfile.TemporaryDirectory(prefix="hpsearch-package-") as name:
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN)
        (folder / "small.yaml").write_text(SPEC)
        where = output(environment, folder, "python", "-c", "import hpsearch; print(hpsearch.__file__)")
        assert Path(where.strip()).is_relative_to(environment), where
        output(environment, folder, "hpsearch", "sweep", "small.yaml")
        trials = json.loads(output(environment, folder, "hpsearch", "show", "--json"))
        assert [trial["state"] for trial in trials] == ["done"] * 3, trials
        report = (folder / "sweeps" / "small" / "report.html").read_text()
        html = ROOT / "hpsearch" / "results" / "html"
        assert all((html / data).read_text().strip()[:200] in report for data in ("report.css", "report.js"))


def output(environment: Path, folder: Path, command: str, *arguments: str) -> str:
    """What a command of the environment prints; its error is shown."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(environment)}
    variables.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(environment / "bin" / command), *arguments],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


if __name__ == "__main__":
    main()
