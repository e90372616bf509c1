"""The command line: `main`, and the verbs, one file for each group of verbs.

Each verb reads its arguments, calls one function of the package and prints the result. Heavy packages are imported
inside the verb that needs them: `list`, `show` and `best` work without Ray, torch, pandas. A new verb is a function in
the file of its group, or in a file of its own that is imported below; the help lists verbs in the order of the imports.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from hpsearch.cli.app import app
from hpsearch.errors import HpsearchError

# isort: off
from hpsearch.cli import (  # noqa: F401 - in the order of the help
    sweep_and_resume,
    trial,
    validate,
    watch,
    logs_and_stop,
    show,
    export_and_report,
    clean,
    forget_and_rename,
    ui_and_doctor,
)
# isort: on

__all__ = ["app", "main"]


def main() -> NoReturn:
    """Run the command line and exit with its code; an `HpsearchError` is printed as a message without a traceback."""
    try:
        app()
    except HpsearchError as error:
        print(f"Error: {error}" if "\n" not in str(error) else f"{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)
