"""Messages between the processes of one machine: pickled objects, and open files, over a Unix socket.

Both ends belong to one user and one program: what arrives is unpickled. Nothing here is open to other users.
"""

from __future__ import annotations

import array
import os
import pickle
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

_HEADER = struct.Struct("<QB")
_CREDENTIALS = struct.Struct("3i")
F = TypeVar("F", "Channel", int)
MAX_FILES = 8
"""Open files that travel with one message at most."""
_CHUNK = 2**20


class ChannelClosed(Exception):
    """The other end is gone."""


def wait_for_any(channels: Sequence[Channel], timeout_s: float | None) -> list[Channel]:
    """Those of some channels from which `receive` has something to say: a message, a part of one, or the end.

    Args:
        channels: To wait for.
        timeout_s: Seconds; None for ever.
    """
    waiting = [channel for channel in channels if channel.has_message]
    return waiting or readable(channels, timeout_s)


def readable(files: Iterable[F], timeout_s: float | None) -> list[F]:
    """Those of some files that can be read without waiting; whatever their numbers, which `select` limits to 1023."""
    poll, by_number = select.poll(), {file if isinstance(file, int) else file.fileno(): file for file in files}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


@dataclass(frozen=True)
class Message:
    """What arrived."""

    content: Any
    files: tuple[int, ...] = ()
    """Open file descriptors; the receiver owns them."""


@final
class Channel:
    """One end of a connection; not safe for threads.

    Args:
        connection: A connected stream socket of the Unix family; the channel owns it.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        self._socket = connection
        self._received = bytearray()
        self._files: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends that are connected with each other."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    @classmethod
    def of_file(cls, descriptor: int) -> Channel:
        """The end that an open file is; the channel owns it."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, content: Any, files: tuple[int, ...] = ()) -> None:
        """Send one message; returns when the system has taken it.

        Args:
            content: Anything that can be pickled.
            files: Open files that the other end gets as files of its own; they stay open here.

        Raises:
            ChannelClosed: The other end is gone.
        """
        body = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
        header = _HEADER.pack(len(body), len(files))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        try:
            self._socket.sendmsg([header], rights)  # a header is too short to be sent in part
            self._socket.sendall(body)
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None if none came in time.

        Args:
            timeout_s: Seconds to wait; None for ever, 0 for what is here already.

        Raises:
            ChannelClosed: The other end is gone, and all that it sent before was received.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (message := self._complete()) is None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not readable([self], left):
                return None
            self._fill()
        return message

    def peer(self) -> tuple[int, int]:
        """(process, user) that opened the other end, as the kernel says."""
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, user, _ = _CREDENTIALS.unpack(found)
        return pid, user

    def close(self) -> None:
        """Close this end, with the files that were not received."""
        self._socket.close()
        for each in self._files:
            os.close(each)
        self._files.clear()

    def _fill(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._socket, _CHUNK, MAX_FILES, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        self._files += files
        if not data:
            raise ChannelClosed("the other end is gone")
        self._received += data

    @property
    def has_message(self) -> bool:
        """Whether a whole message was read from the socket and not received yet: `select` does not know of it."""
        if len(self._received) < _HEADER.size:
            return False
        length, num_files = _HEADER.unpack_from(self._received)
        return bool(len(self._received) >= _HEADER.size + length and len(self._files) >= num_files)

    def _complete(self) -> Message | None:
        """The first message, if all of it is here."""
        if not self.has_message:
            return None
        length, num_files = _HEADER.unpack_from(self._received)
        end = _HEADER.size + length
        content = pickle.loads(bytes(self._received[_HEADER.size : end]))
        del self._received[:end]
        files, self._files = tuple(self._files[:num_files]), self._files[num_files:]
        return Message(content, files)
