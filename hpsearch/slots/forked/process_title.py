"""The title of a process in `ps` and `top`."""

from __future__ import annotations

import os


def setproctitle(title: str) -> None:
    """Set the title of this process in `ps` and `top`; what is longer than its command line was is cut off."""
    import setproctitle as library

    os.environ["SPT_NOENV"] = "1"  # otherwise it overwrites the environment in `/proc`
    library.setproctitle("".join(sign if sign.isprintable() else "?" for sign in title))
    del os.environ["SPT_NOENV"]
