"""Entry point of `hpsearch` and of `python -m hpsearch`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C during its import exits without a traceback."""
    try:
        from hpsearch.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
