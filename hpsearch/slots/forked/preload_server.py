"""The preload server: one process for each node and sweep, from which every attempt of a trial is forked.

It is a fork server, like that of `multiprocessing`. It has imported PyTorch and the third-party modules of the user's
code, but no module of the user's own, so that a new process trains after milliseconds. It never runs a tensor operation
and never calls `torch.cuda`: threads and CUDA contexts do not survive a fork.

The actors of ranks (`forked_trials.py`) connect to it, ask for processes, and receive their exit statuses. The server
is the parent of all these processes and a child subreaper, so that it inherits what they leave behind: a child that it
has not forked itself was started by a trial that is over, and is killed. When a rank disconnects, its processes are
killed; when the last rank disconnects, the server exits. When the server itself is killed, the kernel kills its
children.

If a trial lowers the limits (`ulimit`) of the server, they are restored; if that is not possible, the server forks no
more and gives up its socket's name, and the ranks start another server.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import socket
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from hpsearch.slots.forked.channel import Channel, ChannelClosed, Message, readable
from hpsearch.slots.forked.messages import Exited, Forked, Kill, Launch, NotForked, Ready
from hpsearch.slots.forked.preload_modules import preload, variables_set
from hpsearch.slots.forked.process_title import setproctitle
from hpsearch.slots.process_tree import become_subreaper, children_of
from hpsearch.slots.resource_limits import read_limits, restore_limits

FIRST_RANK_S = 60.0
"""Seconds after which a server exits if no rank has connected to it."""
ACCEPT_PAUSE_S = 0.05
"""Seconds until a connection is accepted again that the kernel has refused."""
PR_SET_PDEATHSIG = 1
"""Option of prctl(2), which Python has no name for."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of a server, written by the rank that starts it."""

    name: str
    """Name of its socket in Linux's abstract namespace: no file, and gone with the process."""
    sweep: str
    """Name of the sweep, for the title of the process."""
    modules: tuple[str, ...]
    """Dotted names of the third-party modules that the user's code imports."""
    differing: frozenset[str]
    """Environment variables that may have other values in a trial than in the server."""
    snapshot: tuple[str, str, str] | None
    """(folder of the code's snapshot, working directory of the driver, the same on this node); None without one."""


def server_name(run: str) -> str:
    """The name of the socket of the server for one run of a sweep by this user on this machine."""
    return f"\0hpsearch-{os.getuid()}-{run}"


def main(options_file: int, listener_file: int | None = None, skipped: Mapping[str, str] | None = None) -> None:
    """Run the server and, in a forked child, the attempt. Does not return.

    Args:
        options_file: File descriptor of the pickled `ServerOptions`.
        listener_file: File descriptor of the socket, if this process was the server before it restarted itself.
        skipped: Modules that are not preloaded, and why.
    """
    options: ServerOptions = pickle.loads(Path(f"/proc/self/fd/{options_file}").read_bytes())
    listener = _listen(options.name) if listener_file is None else socket.socket(fileno=listener_file)
    if listener is None:
        os._exit(0)  # another rank has started the server
    gc.disable()
    restart = _Restart(options_file, listener, dict(skipped or {}))
    setproctitle(f"hpsearch {options.sweep} preload")
    preload(options.modules, restart.skipped, variables=_variables(options), on_bad=restart.without)
    _prepare_snapshot(options)
    os.close(options_file)
    _disable_exit_finalizers()
    gc.collect()
    gc.freeze()  # so that garbage collections in a child do not visit, and thereby copy, the pages of these objects
    from hpsearch.slots.forked.trial_process import run_and_exit

    server = PreloadServer(listener, skipped=restart.skipped)
    launched = server.serve()
    if launched is None:
        os._exit(0)
    launch, channel, function = launched
    run_and_exit(launch.setup, channel, function)


@final
class _Restart:
    """Restarts the server without a module, since an import can't be undone; the process and its socket stay."""

    def __init__(self, options_file: int, listener: socket.socket, skipped: dict[str, str]) -> None:
        self._options_file, self._listener, self.skipped = options_file, listener, skipped

    def without(self, module: str, reason: str) -> None:
        """Restart the server without this module; does not return."""
        print(f"hpsearch: each trial imports {module} for itself: {reason}", file=sys.stderr, flush=True)
        self.skipped[module] = reason
        for each in (self._options_file, self._listener.fileno()):
            os.set_inheritable(each, True)
        code = start_code(sys.path, self._options_file, self._listener.fileno(), self.skipped)
        os.execv(sys.executable, [sys.executable, "-c", code])


def start_code(path: Sequence[str], options_file: int, listener_file: int | None, skipped: Mapping[str, str]) -> str:
    """The code of a server, for `python -c`."""
    return (
        f"import sys; sys.path[:] = {list(path)!r}; from hpsearch.slots.forked.preload_server import main;"
        f" main({options_file}, {listener_file}, {dict(skipped)!r})"
    )


def _disable_exit_finalizers() -> None:
    """Do not run the finalizers of the imported modules at the exit of each trial, which would take milliseconds."""
    for each in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        each.atexit = False


def _variables(options: ServerOptions) -> set[str]:
    """Variables that no preloaded module must read: those that differ in trials, or that the user's code sets."""
    if options.snapshot is None:
        return set(options.differing)
    sources = (path for path in Path(options.snapshot[0]).rglob("*.py") if path.parent.name != "site")
    return set(options.differing).union(*(variables_set(path.read_bytes()) for path in sources))


def _prepare_snapshot(options: ServerOptions) -> None:
    """Compile the user's own files, so that trials import them faster; none of them is run here."""
    if options.snapshot is None:
        return
    from hpsearch.trainable import code_finder

    folder, old_root, new_root = options.snapshot
    code_finder.install(folder, old_root=old_root, new_root=new_root).precompile()


def _listen(name: str) -> socket.socket | None:
    """Listen on a socket of this name; None if another process does so already."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(name)
    except OSError:
        listener.close()
        return None
    listener.listen(64)
    return listener


@final
class PreloadServer:
    """Forks processes for ranks, and reports their ends.

    Args:
        listener: Socket that ranks connect to.
        skipped: Modules that were not preloaded, and why.
    """

    def __init__(self, listener: socket.socket, *, skipped: Mapping[str, str]) -> None:
        self._listener, self._skipped = listener, dict(skipped)
        self._ranks: dict[int, Channel] = {}
        """Connections of ranks by file descriptor."""
        self._trials: dict[int, Channel] = {}
        """Connection of the rank by the process id of its trial."""
        self._orphans: set[int] = set()
        """Process ids of orphans that were killed and have not ended yet."""
        self._ended: list[Exited] = []
        """Trials that have ended; reported when all processes that they had started have ended too."""
        self._had_rank = False
        """Whether any rank has connected so far."""
        self._wakeup, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pid = os.getpid()
        self._limits = read_limits()

    def serve(self) -> tuple[Launch, Channel, int | None] | None:
        """Serve ranks until the last one has disconnected.

        Returns:
            None in the server. In a forked child, the request, the channel to the rank, and the open file of a block
            with the function, or None where the function is in the settings.
        """
        become_subreaper()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        while self._ranks or self._trials or not self._had_rank:
            self._check_limits()  # first, since poll(2) fails with more files than the limit
            listening = [self._listener.fileno()] if self._is_listening else []
            watched = [*listening, self._wakeup, *self._ranks]
            ready = readable(watched, None if self._had_rank else FIRST_RANK_S)
            self._check_limits()
            if not ready and not self._had_rank:
                return None
            if self._wakeup in ready:
                with suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
            self._collect_ended()
            if self._is_listening and self._listener.fileno() in ready:
                self._accept()
            for rank in [self._ranks[each] for each in ready if each in self._ranks]:
                launched = self._receive(rank)
                while launched is None and rank.has_message:
                    launched = self._receive(rank)
                if launched is not None:
                    return launched
        return None

    @property
    def _is_listening(self) -> bool:
        """Whether this server still forks processes, and ranks may connect."""
        return self._listener.fileno() >= 0

    def _check_limits(self) -> None:
        """Restore the limits of this process, which each new trial inherits; leave the socket's name if that fails."""
        if self._is_listening and not restore_limits(self._limits):
            self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the machine has no more open files; the rank waits, or tries again
            time.sleep(ACCEPT_PAUSE_S)
            return
        channel = Channel(connection)
        if channel.peer()[1] != os.getuid():
            channel.close()  # any user of the machine may connect to a name in the abstract namespace
            return
        self._had_rank = True
        self._ranks[channel.fileno()] = channel
        self._report(channel, Ready(self._skipped))

    def _receive(self, rank: Channel) -> tuple[Launch, Channel, int | None] | None:
        try:
            message = rank.receive(timeout_s=0)
        except ChannelClosed:
            self._drop(rank)
            return None
        if message is None:
            return None
        if isinstance(message.content, Kill):
            if message.content.pid in self._trials:
                _kill(message.content.pid)
            return None
        return self._launch(rank, message)

    def _launch(self, rank: Channel, message: Message) -> tuple[Launch, Channel, int | None] | None:
        """Fork a process for a rank; returns what it runs in that process, and None in the server."""
        if not self._is_listening or not message.files:
            self._drop(rank)  # it connects to the server that has the name now, or starts one
            return None
        file, *functions = message.files
        try:
            pid = os.fork()
        except OSError as error:
            for each in message.files:
                os.close(each)
            self._report(rank, NotForked(error.errno or 0))
            return None
        if pid == 0:
            self._become_child()
            return message.content, Channel.of_file(file), next(iter(functions), None)
        for each in message.files:
            os.close(each)
        self._trials[pid] = rank
        self._report(rank, Forked(pid))
        return None

    def _become_child(self) -> None:
        """Close the files of the server, and have the kernel kill this process when the server ends."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _die_with_parent(self._pid)
        self._listener.close()
        for each in (self._wakeup, self._wake):
            os.close(each)
        for channel in self._ranks.values():
            channel.close()
        gc.enable()

    def _drop(self, rank: Channel) -> None:
        """Kill the processes of a rank that has disconnected."""
        del self._ranks[rank.fileno()]
        for pid in [pid for pid, each in self._trials.items() if each is rank]:
            _kill(pid)
        rank.close()

    def _collect_ended(self) -> None:
        """Reap children that have ended, kill the orphans that they leave, and report their ends to their ranks."""
        while True:
            self._reap()
            unknown = children_of(self._pid) - self._trials.keys()
            if not unknown - self._orphans:
                break
            for each in unknown:
                _kill(each)
            self._orphans |= unknown
        if self._orphans:
            return
        for exited in self._ended:
            rank = self._trials.pop(exited.pid)
            if rank.fileno() in self._ranks:
                self._report(rank, exited)
        self._ended.clear()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._orphans.discard(pid)
                if pid in self._trials:
                    self._ended.append(Exited(pid, status))

    def _report(self, rank: Channel, content: object) -> None:
        with suppress(ChannelClosed):  # the closed connection is noticed by the next `_receive`
            rank.send(content)


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit if the parent has ended already."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
