"""A script as a trainable: run as `__main__`, with the configuration on its command line, as a shell would run it.

In a sweep it has the main thread of its trial's process, so that `signal.signal` works. Under `isolation: slot` the
process trains other trials too: what the script imports stays imported, its own top level runs again for each trial, in
a thread, where Python refuses `signal.signal`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, final

from hpsearch.trainable import code_finder
from hpsearch.trainable.arguments import DEFAULT, command_line


@final
class Script:
    """Calling it with a configuration runs the file from its first line to its last."""

    def __init__(self, path: Path, arguments: Sequence[str] = DEFAULT) -> None:
        """Nothing of the script runs yet.

        Args:
            path: Absolute.
            arguments: Words, and macros that stand for the parameters, see `arguments.py`.
        """
        self.path = path
        self._arguments = arguments

    def __call__(self, config: Mapping[str, Any]) -> None:
        """Run it, in a sweep as its snapshot has it.

        Raises:
            BaseException: Whatever it raises; SystemExit as it leaves, without an exit code too.
        """
        finder = code_finder.installed()
        code = compile(self.path.read_bytes(), str(self.path), "exec") if finder is None else finder.code(self.path)
        module = ModuleType("__main__")
        module.__dict__.update(__file__=str(self.path), __builtins__=__builtins__)
        with _as_main(module, [str(self.path), *command_line(config, self._arguments)]):
            exec(code, module.__dict__)  # running the user's program is what this is for


@contextmanager
def _as_main(module: ModuleType, argv: list[str]) -> Iterator[None]:
    """Within the block `module` is the program, to pickle, `argparse` and whoever imports its neighbours."""
    folder = str(Path(argv[0]).parent)
    before = sys.modules["__main__"], sys.argv
    sys.modules["__main__"], sys.argv = module, argv
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv = before
