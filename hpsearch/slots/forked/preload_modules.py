"""The imports of the preload server, and the check after each of them that the process can still be forked.

Threads, sockets and CUDA contexts do not survive a fork, and variables that differ between trials must not be read
before the fork. A module whose import needs any of these is not preloaded: each trial imports it for itself.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = (
    "torch",
    "torch.optim",
    "torch._dynamo",  # the first optimizer imports it, which takes more than a second
    "torch.utils.data",
    "torch.nn.parallel",
    "cloudpickle",
    "numpy",
    "hpsearch.training.epochs",
    "hpsearch.training.fit",
    "hpsearch.training.oom",
    "hpsearch.training.leaks.sentinel",
    "hpsearch.training.data.shared",
    "hpsearch.training.checkpoint",
    "hpsearch.slots.forked.trial_process",
)
"""Modules that every server imports, in this order."""
LEFT_TO_TRIALS = frozenset(
    {"ray", "wandb", "mlflow", "comet_ml", "neptune", "clearml", "aim", "dvclive", "trackio", "swanlab", "horovod"}
)
"""Packages that are never preloaded, since they open connections or read their environment when imported."""
THREADED_LIBRARIES = re.compile(r"openblas|libmkl|libblis|libgomp|libomp|libiomp")
"""Native libraries that end their threads before a fork and start them again after it."""


def preload(
    modules: Iterable[str],
    skipped: Mapping[str, str],
    *,
    variables: set[str],
    on_bad: Callable[[str, str], None],
) -> None:
    """Import BASE and other modules, and check after each of the others that the process can still be forked.

    Args:
        modules: Dotted names of third-party modules.
        skipped: Modules that are not imported, or whose package is not; the values are not used.
        variables: Environment variables that may have other values in a trial than in this process.
        on_bad: Called with the name of a module that must not be imported here, and the reason. The import can't be
            undone, so that in the server this call does not return but restarts the process.
    """
    for name in BASE:
        importlib.import_module(name)
    for name in modules:
        root = name.partition(".")[0]
        if root in LEFT_TO_TRIALS or name in skipped or root in skipped:
            continue
        before = _ProcessFacts.now()
        with _variables_read() as read:
            try:
                importlib.import_module(name)
            except BaseException as error:  # a module may call sys.exit on import
                on_bad(name, f"it can't be imported: {type(error).__name__}")
                continue
        reason = before.changed() or _read_variable(read, variables)
        if reason is not None:
            on_bad(name, reason)


@dataclass(frozen=True)
class _ProcessFacts:
    """What this process has that a forked child would not have."""

    python_threads: int
    """Number of threads that Python has started."""
    native_threads: int
    """Number of all threads."""
    sockets: frozenset[str]
    """Open sockets, as `/proc` names them."""
    libraries: frozenset[str]
    """Loaded libraries that handle forks themselves, see THREADED_LIBRARIES."""
    left_to_trials: frozenset[str]
    """Imported packages of LEFT_TO_TRIALS."""

    @classmethod
    def now(cls) -> _ProcessFacts:
        """The facts at this moment."""
        names = os.listdir("/proc/self/fd")  # noqa: PTH208  # Path would be slower, and this runs for each module
        targets = set()
        for each in names:
            with suppress(OSError):
                targets.add(os.readlink(f"/proc/self/fd/{each}"))  # noqa: PTH115
        return cls(
            python_threads=threading.active_count(),
            native_threads=len(os.listdir("/proc/self/task")),  # noqa: PTH208
            sockets=frozenset(each for each in targets if each.startswith("socket:")),
            libraries=_threaded_libraries(),
            left_to_trials=frozenset(LEFT_TO_TRIALS & sys.modules.keys()),
        )

    def changed(self) -> str | None:
        """Why the process can't be forked any more, as a text; None if it can."""
        now = _ProcessFacts.now()
        if now.left_to_trials - self.left_to_trials:
            return f"it imports {', '.join(sorted(now.left_to_trials - self.left_to_trials))}"
        if now.python_threads > self.python_threads:
            return "it starts a thread"
        if now.native_threads > self.native_threads and now.libraries == self.libraries:
            return "it starts a native thread"
        if now.sockets - self.sockets:
            return "it opens a socket"
        cuda = sys.modules.get("torch.cuda")
        return "it uses CUDA" if cuda is not None and cuda.is_initialized() else None


def _threaded_libraries() -> frozenset[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return frozenset(line.rpartition("/")[2] for line in lines if THREADED_LIBRARIES.search(line.rpartition("/")[2]))


def _read_variable(names: Iterable[str], variables: set[str]) -> str | None:
    found = next((name for name in names if name in variables), None)
    return None if found is None else f"it reads {found}"


@contextmanager
def _variables_read() -> Iterator[list[str]]:
    """Within the block, collect the names of the variables that are looked up in `os.environ`."""
    names: list[str] = []
    kind: Any = type(os.environ)
    plain = kind.__getitem__

    def look_up(environ: Any, name: str) -> str:
        names.append(name)
        return plain(environ, name)  # type: ignore[no-any-return]

    kind.__getitem__ = look_up
    try:
        yield names
    finally:
        kind.__getitem__ = plain


def variables_set(source: bytes) -> set[str]:
    r"""Names of the environment variables that a module sets, which no other module must read before that.

    Args:
        source: Source code of the module; without valid Python in it the result is empty.

    Example:
        >>> sorted(variables_set(b"import os\nos.environ['A_HOME'] = 'x'\nos.environ.setdefault('B', '1')"))
        ['A_HOME', 'B']
    """
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return set()
    keys: list[ast.expr] = []
    for node in nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and _is_environ(node.value):
            keys.append(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keys += _keys_of(node, node.func)
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def _keys_of(call: ast.Call, function: ast.Attribute) -> list[ast.expr]:
    if function.attr == "putenv" or (function.attr == "setdefault" and _is_environ(function.value)):
        return call.args[:1]
    if function.attr == "update" and _is_environ(function.value):
        given = [key for each in call.args if isinstance(each, ast.Dict) for key in each.keys if key is not None]
        return [*given, *(ast.Constant(keyword.arg) for keyword in call.keywords if keyword.arg)]
    return []


def _is_environ(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (
        isinstance(node, ast.Name) and node.id == "environ"
    )
