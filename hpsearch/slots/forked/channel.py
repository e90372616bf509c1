"""Messages between processes of one machine: pickled objects and open files, over a Unix socket.

Both ends must belong to the same user and program, since what is received is unpickled.
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
"""Beginning of each message: number of bytes of the pickle, and number of open files."""
_CREDENTIALS = struct.Struct("3i")
"""The kernel's `struct ucred`: process id, user id and group id."""
F = TypeVar("F", "Channel", int)
MAX_FILES = 8
"""Most open files that can be sent with one message."""
_CHUNK = 2**20
"""Most bytes that are read from a socket at once."""


class ChannelClosed(Exception):
    """The other end of a channel is closed, or its process has ended."""


def wait_for_any(channels: Sequence[Channel], timeout_s: float | None) -> list[Channel]:
    """Wait until `receive` can make progress on some channels: a message, a part of one, or the end.

    Args:
        channels: The channels to wait for.
        timeout_s: Seconds; None for no limit.

    Returns:
        The channels that are ready; empty after `timeout_s`.
    """
    waiting = [channel for channel in channels if channel.has_message]
    return waiting or readable(channels, timeout_s)


def readable(files: Iterable[F], timeout_s: float | None) -> list[F]:
    """Wait until some files can be read, and return them; by poll(2), since select(2) has a limit of 1023."""
    poll, by_number = select.poll(), {file if isinstance(file, int) else file.fileno(): file for file in files}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


@dataclass(frozen=True)
class Message:
    """A received message."""

    content: Any
    """The object that was sent."""
    files: tuple[int, ...] = ()
    """Open file descriptors, which the receiver must close."""


@final
class Channel:
    """One end of a connection between two processes. Not thread-safe.

    Args:
        connection: A connected Unix stream socket; the channel closes it.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        self._socket = connection
        self._received = bytearray()
        self._files: list[int] = []
        self._has_lost_files = False
        """Whether the kernel has dropped files that were sent, since this process may open no more."""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make two channels that are connected to each other."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    @classmethod
    def of_file(cls, descriptor: int) -> Channel:
        """Make a channel of the file descriptor of a connected socket; the channel closes it."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """The file descriptor, for `select` and `poll`."""
        return self._socket.fileno()

    def send(self, content: Any, files: tuple[int, ...] = ()) -> None:
        """Send one message; returns when the kernel has buffered it.

        Args:
            content: An object that can be pickled.
            files: Descriptors of open files, at most MAX_FILES, which are duplicated for the other process.

        Raises:
            ChannelClosed: The other end is closed.
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
        """Receive the next message.

        Args:
            timeout_s: Seconds to wait; None for no limit, 0 for what has arrived already.

        Returns:
            The message, without its files if this process may open no more of them; None after `timeout_s`.

        Raises:
            ChannelClosed: The other end is closed, and everything that it sent before has been received.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (message := self._complete()) is None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not readable([self], left):
                return None
            self._fill()
        return message

    def peer(self) -> tuple[int, int]:
        """(process id, user id) of the other end when the connection was made, from the kernel."""
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, user, _ = _CREDENTIALS.unpack(found)
        return pid, user

    def close(self) -> None:
        """Close this end, and the files of messages that were not received."""
        self._socket.close()
        for each in self._files:
            os.close(each)
        self._files.clear()

    def _fill(self) -> None:
        try:
            data, files, flags, _ = socket.recv_fds(self._socket, _CHUNK, MAX_FILES, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        self._files += files
        self._has_lost_files |= bool(flags & socket.MSG_CTRUNC)
        if not data:
            raise ChannelClosed("the other end is gone")
        self._received += data

    @property
    def has_message(self) -> bool:
        """Whether a whole message has been read from the socket and not received yet; `poll` does not show that."""
        if len(self._received) < _HEADER.size:
            return False
        length, num_files = _HEADER.unpack_from(self._received)
        has_files = self._has_lost_files or len(self._files) >= num_files
        return bool(len(self._received) >= _HEADER.size + length and has_files)

    def _complete(self) -> Message | None:
        """Take the first message from the buffer; None if it is not complete."""
        if not self.has_message:
            return None
        length, num_files = _HEADER.unpack_from(self._received)
        end = _HEADER.size + length
        content = pickle.loads(bytes(self._received[_HEADER.size : end]))
        del self._received[:end]
        files, self._files = tuple(self._files[:num_files]), self._files[num_files:]
        return Message(content, files)
