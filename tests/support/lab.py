"""JupyterLab for the screenshots: a server on a folder, whose kernels are this Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook that was not run yet."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)


@contextmanager
def serving_lab(folder: Path, *, theme: str, private: Path) -> Iterator[tuple[str, str]]:
    """(address, token) of a JupyterLab that ends with the block.

    Args:
        folder: What it serves, and where its notebooks run.
        theme: For example `JupyterLab Dark`.
        private: An empty folder for its settings and its files while it runs.
    """
    _settings(private, theme)
    extensions = Path(sys.prefix) / "share" / "jupyter"  # plotly's, wherever JupyterLab itself is installed
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(private / "settings"),
        "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
        "JUPYTER_CONFIG_DIR": str(private / "config"),
        "JUPYTER_PATH": f"{private}{os.pathsep}{extensions}",
    }
    options = ["--no-browser", "--ServerApp.port=0", "--allow-root", "--LabApp.news_url=None"]
    with (private / "log.txt").open("w") as log:
        command = ["jupyter-lab", *options]
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as server:
            try:
                written = until(lambda: next((private / "runtime").glob("jpserver-*.json"), None))
                assert written is not None
                server_info = json.loads(written.read_text())
                yield server_info["url"].rstrip("/"), server_info["token"]
            finally:
                server.terminate()


def _settings(private: Path, theme: str) -> None:
    """The theme, no question on top of it, and a kernel that is this Python with this checkout."""
    settings = private / "settings" / "@jupyterlab" / "apputils-extension"
    themes, news = (settings / f"{name}.jupyterlab-settings" for name in ("themes", "notification"))
    kernel = private / "kernels" / "python3" / "kernel.json"
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python", "env": {"PYTHONPATH": str(ROOT)}}
    for path, content in ((themes, {"theme": theme}), (news, {"fetchNews": "false"}), (kernel, spec)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
