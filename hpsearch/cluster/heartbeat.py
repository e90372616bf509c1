"""Whether Ray still lives, which Ray itself does not tell.

Measured on Ray 2.60: with a dead raylet Tune's trials end in errors after 14 s and then it waits for ever; with a dead
GCS the main thread hangs in its next call to it, and Ray ends the whole process after 60 s.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from typing import final

BEAT_S = 1.0
"""Seconds between two looks."""
CONNECT_TIMEOUT_S = 2.0
"""A busy daemon that takes longer to answer is not dead: only a refusal is."""
REFUSALS = (errno.ECONNREFUSED, errno.ENOENT)
"""What the system says when nobody listens, to a port and to a socket file."""


class RayDied(BaseException):
    """A daemon of Ray is gone; a BaseException, since Tune handles an Exception by more calls to the dead daemon."""


@final
class Heartbeat:
    """Looks whether Ray's two daemons, the GCS and this node's raylet, still listen."""

    def __init__(
        self, gcs_address: str | None, raylet_socket: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to watch.

        Args:
            gcs_address: `host:port`; None where it is not known, and then nobody looks.
            raylet_socket: Path of a unix socket; None where it is not known.
            clock: Seconds that never go back.
        """
        self._doors = {
            name: door for name, door in (("GCS", gcs_address), ("raylet", raylet_socket)) if door is not None
        }
        self._clock, self._last = clock, clock()

    @classmethod
    def of_this_ray(cls) -> Heartbeat:
        """Of the Ray that this process is connected to."""
        import ray

        node = ray._private.worker._global_node
        return cls(node.gcs_address, node.raylet_socket_name) if node is not None else cls(None, None)

    def beat(self) -> None:
        """To be called often; looks at most every BEAT_S seconds.

        Raises:
            RayDied: A daemon does not listen any more; the message names it.
        """
        if self._clock() - self._last < BEAT_S:
            return
        for name, door in self._doors.items():
            if not _listens(door):
                raise RayDied(f"Ray's {name} is gone")
        self._last = self._clock()


def _listens(door: str) -> bool:
    is_file = door.startswith("/")
    try:
        with socket.socket(socket.AF_UNIX if is_file else _family(door)) as caller:
            caller.settimeout(CONNECT_TIMEOUT_S)
            caller.connect(door if is_file else _host_and_port(door))
    except OSError as error:
        return error.errno not in REFUSALS
    return True


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in _host_and_port(address)[0] else socket.AF_INET


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
