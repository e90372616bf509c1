"""The title of a process in `ps` and `top`."""

from __future__ import annotations

import os

from hpsearch.text import printable


def setproctitle(title: str) -> None:
    """Set the title of this process in `ps` and `top`; a title longer than its command line is cut off."""
    import setproctitle as library

    os.environ["SPT_NOENV"] = "1"  # otherwise it overwrites the environment in `/proc`
    library.setproctitle(printable(title))
    del os.environ["SPT_NOENV"]
