"""Connecting a rank to the preload server of its node, which is started if there is none."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hpsearch.slots.forked.channel import Channel, ChannelClosed
from hpsearch.slots.forked.messages import Ready
from hpsearch.slots.forked.preload_server import ServerOptions, start_code

SERVER_START_S = 280.0
"""Seconds until a server that has not done its imports counts as lost; torch on a cold network disk is slow."""
BIND_S = 1.0
"""Seconds until another server is started, where one was started and does not listen."""
MAX_STARTS = 5
"""Most servers that one call of `connect` starts."""


class ServerLost(Exception):
    """The preload server has ended, and with it the processes that it had forked."""


def connect(options: ServerOptions, environment: Mapping[str, str], sys_path: Sequence[str]) -> Channel:
    """Connect to the server, start it if there is none, and wait until its imports are done.

    Args:
        options: Options of a server that is started.
        environment: All environment variables of a server that is started.
        sys_path: Module search path on this node.

    Raises:
        ServerLost: No server is ready after SERVER_START_S seconds, or MAX_STARTS attempts to start one.
    """
    deadline, started, num_starts = time.monotonic() + SERVER_START_S, 0.0, 0
    while time.monotonic() < deadline:
        server = _connect(options.name)
        if server is not None and _is_ready(server, deadline):
            return server
        if time.monotonic() - started > BIND_S:
            if num_starts == MAX_STARTS:
                break
            _start(options, environment, sys_path)
            started, num_starts = time.monotonic(), num_starts + 1
        time.sleep(0.02)
    raise ServerLost("the preload server of the node did not start; the log of the rank's actor in Ray says why")


def server_path(sys_path: Sequence[str]) -> list[str]:
    """The module search path of a server: standard library, installed packages and hpsearch, but no user's code."""
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = [path for path in sys_path if any(Path(path).is_relative_to(each) for each in libraries)]
    zipped = [path for path in sys_path if path.endswith(".zip")]
    return list(dict.fromkeys([*zipped, *installed, str(Path(__file__).parents[3])]))


def _is_ready(server: Channel, deadline: float) -> bool:
    """Wait until the imports of a server are done; False if it ends before, for example because its last rank has."""
    with suppress(ChannelClosed):
        ready = server.receive(max(deadline - time.monotonic(), 0.0))
        if ready is not None and isinstance(ready.content, Ready):
            return True
    server.close()
    return False


def _connect(name: str) -> Channel | None:
    """Connect to the server of this name; None if there is none, or it belongs to another user."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(name)
    except OSError:
        connection.close()
        return None
    channel = Channel(connection)
    if channel.peer()[1] == os.getuid():
        return channel
    channel.close()
    return None


def _start(options: ServerOptions, environment: Mapping[str, str], sys_path: Sequence[str]) -> None:
    """Start a server as a daemon in a session of its own; it exits at once if there is one already."""
    file = os.memfd_create("hpsearch-options", 0)
    try:
        os.write(file, pickle.dumps(options))
        code = f"import os; os.fork() and os._exit(0); {start_code(server_path(sys_path), file, None, {})}"
        environment = {**environment, "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            pass_fds=(file,),
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(file)
