"""Says what other users and other machines can reach of a Ray that hpsearch has started; it never stops a sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from hpsearch.cluster.connect import Cluster
from hpsearch.cluster.open_ports import Port, own_processes, ray_ports
from hpsearch.cluster.private_files import access_of_others
from hpsearch.text import counted

LATER_S = 10.0
"""Seconds after the first probe when the ports are probed again: Ray's agents and the slots listen by then."""


@contextmanager
def watch_exposure(cluster: Cluster, *, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, probe a Ray that hpsearch has started, in the background, at the start and LATER_S after it.

    Args:
        cluster: The Ray; one that was running before is its owner's concern.
        say: Shows a message; called once at most for the folder, and once at most for the ports.
    """
    if not cluster.owned:
        yield
        return
    over = Event()
    probe = Thread(target=_probe, args=(cluster, say, over), name="ray-exposure", daemon=True)
    probe.start()
    try:
        yield
    finally:
        over.set()
        probe.join()


def _probe(cluster: Cluster, say: Callable[[str], None], over: Event) -> None:
    try:
        if cluster.logs_dir is not None and (found := open_folder(cluster.logs_dir)):
            say(found)
        for wait_s in (LATER_S, 0.0):
            if found := open_ports(ray_ports(own_processes(), driver=os.getpid())):
                say(found)
                return
            if over.wait(wait_s):
                return
    except Exception as error:  # what can't be probed is no reason to end a sweep
        say(f"Ray's ports and folder could not be probed: {type(error).__name__}: {error}")


def open_folder(logs_dir: Path) -> str | None:
    """A message if other users can read or write the folder of Ray's logs; None if they can't."""
    access = access_of_others(logs_dir)
    if access == "none":
        return None
    return (
        f"Other users of this machine can {access} Ray's folder, {logs_dir.parent}: its file system does not keep them"
        " out. Set TMPDIR to a folder that only you can enter, of at most 20 characters."
    )


def open_ports(ports: Iterable[Port]) -> str | None:
    """A message if ports of Ray accept requests without a token; None if none does. Metrics are no such request."""
    found = [port for port in ports if port.answer == "open"]
    if not found:
        return None
    who = "other users and other machines" if any(port.is_remote for port in found) else "other users"
    numbers = ", ".join(str(port.number) for port in found)
    what = f"{counted(len(found), 'port')} of Ray {'accepts' if len(found) == 1 else 'accept'} requests without a token"
    return f"{what} ({numbers}): {who} can run code as you. Unset RAY_AUTH_MODE and start again."
