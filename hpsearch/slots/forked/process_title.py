"""The name of a process in `ps` and `top`."""

from __future__ import annotations

import os


def setproctitle(title: str) -> None:
    """What this process is called in `ps` and `top`; at most as long as its command line was."""
    import setproctitle as library

    os.environ["SPT_NOENV"] = "1"  # else the first call takes the room of the environment too, which `/proc` then lacks
    library.setproctitle("".join(sign if sign.isprintable() else "?" for sign in title))
    del os.environ["SPT_NOENV"]
