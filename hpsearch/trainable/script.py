"""A script as a trainable: it runs as `__main__`, with the configuration on its command line, as from a shell.

In a sweep it runs in the main thread of its trial's process. Under `isolation: slot` the process runs other trials too:
modules that the script has imported stay loaded, its top level runs for each trial, and it runs in a second thread, for
which the main thread installs signal handlers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, final

from hpsearch.trainable import code_finder
from hpsearch.trainable.argument_errors import advice_on_arguments, argparse_message
from hpsearch.trainable.arguments import DEFAULT, command_line


@final
class Script:
    """A callable that runs a file as a program, with a configuration on its command line."""

    def __init__(self, path: Path, arguments: Sequence[str] = DEFAULT) -> None:
        """Prepare a script; calling the object runs it.

        Args:
            path: The file, absolute.
            arguments: Its command line with macros for the parameters, see `arguments.py`.
        """
        self.path = path
        self._arguments = arguments

    def __call__(self, config: Mapping[str, Any]) -> None:
        """Run the script from its first line to its last, in a sweep from the sweep's snapshot.

        Raises:
            BaseException: Anything that the script raises; SystemExit if it exits, also without an exit code.
        """
        finder = code_finder.installed()
        code = compile(self.path.read_bytes(), str(self.path), "exec") if finder is None else finder.code(self.path)
        module = ModuleType("__main__")
        module.__dict__.update(__file__=str(self.path), __builtins__=__builtins__)
        with _as_main(module, [str(self.path), *command_line(config, self._arguments)]):
            self._run(code, module, config)

    def _run(self, code: CodeType, module: ModuleType, config: Mapping[str, Any]) -> None:
        try:
            exec(code, module.__dict__)  # runs the user's program, as asked
        except SystemExit as error:
            advice = advice_on_arguments(argparse_message(error) or "", config, self._arguments)
            if advice is not None:
                print(f"hpsearch: {advice}", file=sys.stderr)
                error.add_note(advice)
            raise


@contextmanager
def _as_main(module: ModuleType, argv: list[str]) -> Iterator[None]:
    """Within the block, `module` is `__main__`, `argv` is `sys.argv`, and imports look beside the script first."""
    folder = str(Path(argv[0]).parent)
    before = sys.modules["__main__"], sys.argv
    sys.modules["__main__"], sys.argv = module, argv
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv = before
