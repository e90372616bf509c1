"""Detects that Ray has died, since Ray itself does not report it.

Measured on Ray 2.60: if the raylet dies, Tune's trials end in errors after 14 s, and then Tune waits forever; if the
GCS dies, the main thread hangs in its next call to it, and Ray ends the whole process after 60 s.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from typing import final

BEAT_S = 1.0
"""Seconds between two checks."""
CONNECT_TIMEOUT_S = 2.0
"""Seconds; a busy daemon that takes longer to answer counts as alive: only a refused connection means that it died."""
REFUSALS = (errno.ECONNREFUSED, errno.ENOENT)
"""Errors of connecting to a port and to a socket file on which no process listens."""


class RayDied(BaseException):
    """A daemon of Ray has died; a BaseException, since Tune answers an Exception with more calls to the dead daemon."""


@final
class Heartbeat:
    """Checks whether Ray's two daemons, the GCS and this node's raylet, still accept connections."""

    def __init__(
        self, gcs_address: str | None, raylet_socket: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make the check; the first one is due after BEAT_S seconds.

        Args:
            gcs_address: `host:port`; None if unknown, then the GCS is not checked.
            raylet_socket: Path of a unix socket; None if unknown, then the raylet is not checked.
            clock: A monotonic time in seconds.
        """
        self._addresses = {
            name: address for name, address in (("GCS", gcs_address), ("raylet", raylet_socket)) if address is not None
        }
        self._clock, self._last = clock, clock()

    @classmethod
    def of_this_ray(cls) -> Heartbeat:
        """The check of the Ray that this process is connected to."""
        import ray

        node = ray._private.worker._global_node
        return cls(node.gcs_address, node.raylet_socket_name) if node is not None else cls(None, None)

    def beat(self) -> None:
        """Check both daemons, unless the last check was less than BEAT_S seconds ago.

        Raises:
            RayDied: A daemon refused the connection; the message names it.
        """
        if self._clock() - self._last < BEAT_S:
            return
        for name, address in self._addresses.items():
            if not _listens(address):
                raise RayDied(f"Ray's {name} is gone")
        self._last = self._clock()


def _listens(address: str) -> bool:
    is_file = address.startswith("/")
    try:
        with socket.socket(socket.AF_UNIX if is_file else _family(address)) as client:
            client.settimeout(CONNECT_TIMEOUT_S)
            client.connect(address if is_file else _host_and_port(address))
    except OSError as error:
        return error.errno not in REFUSALS
    return True


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in _host_and_port(address)[0] else socket.AF_INET


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
