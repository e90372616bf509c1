"""The process of one attempt at a trial, from its fork to its end: the user's code runs here, and nothing of Ray.

The main thread is the user's. A trainable is called once; at each row that it gives (`yield` or `report`) it waits
until its rank asks for the next epoch, or ends it. What it does to its process ends with it.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, final

from hpsearch.errors import TrialStopped
from hpsearch.paths import log_path
from hpsearch.slots import lightning
from hpsearch.slots.diagnosis import failure_of
from hpsearch.slots.forked.channel import Channel, ChannelClosed
from hpsearch.slots.forked.messages import Closed, Finish, Listed, Saved, Step, TrialSetup, UsesBlock
from hpsearch.slots.process_tree import claim_descendants
from hpsearch.slots.protocol import Failed
from hpsearch.slots.rank_environment import rank_variables
from hpsearch.slots.ray_tune_session import uses_ray_tune
from hpsearch.slots.replies import Reply
from hpsearch.slots.reporter import Reporter
from hpsearch.slots.trial_log import open_log, replace_standard_streams
from hpsearch.slots.user_function import import_failure, load_trainable, set_torch_threads
from hpsearch.slots.with_parameters import load_block
from hpsearch.training.context import SharedDataHost
from hpsearch.training.stepper import MetricsIterator, prepare_process

RAY_STAYS_ALONE = {"RAY_ENABLE_AUTO_CONNECT": "0"}
"""A trial's `ray.get` must not start a Ray of its own beside the one that runs the sweep."""


def run_and_exit(setup: TrialSetup, channel: Channel, function: int | None) -> NoReturn:
    """Be the process of an attempt; called in a process that was just forked.

    Args:
        setup: The attempt.
        channel: To the rank.
        function: An open file with the function, see `with_parameters`; None for that of the settings.
    """
    status = 1
    try:
        status = TrialRunner(setup, channel, function).run()
    except BaseException as error:  # a log that can't be written, a disk that is full, a defect of ours
        traceback.print_exc()
        with suppress(ChannelClosed):
            channel.send(Reply(failure=failure_of(error), is_last=True))
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End as a program ends: threads are joined, what was registered for the end is run, streams are flushed."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter, and multiprocessing's children, do
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        status = status or 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


@final
class TrialRunner:
    """Runs the user's function, and answers its rank.

    Args:
        setup: The attempt.
        channel: To the rank.
        block: An open file with the function; None for that of the settings.
    """

    def __init__(self, setup: TrialSetup, channel: Channel, block: int | None) -> None:
        self._setup, self._settings, self._channel, self._block = setup, setup.settings, channel, block
        self._step = Step(save=False)
        self._progress: Reporter | None = None
        self._is_over = self._runs_out = self._loop_is_too_long = False
        self._lock = threading.RLock()
        enter(setup)

    def run(self) -> int:
        """Train; the process's exit status."""
        trainable_error, function = self._load()
        try:
            self._await()
        except TrialStopped:  # before its first epoch
            return 0
        if function is None:
            self._send(Reply(trainable_error=trainable_error, is_last=True))
            return 0
        progress = Reporter(
            self._setup.assignment,
            settings=self._settings,
            position=self._setup.position,
            ranks_here=self._setup.ranks_here,
            in_ray_session=uses_ray_tune(function),
            sharing=_Told(self._channel, dict(self._setup.listings)),
        )
        self._progress = progress
        with progress.active():
            last = self._call(function, progress)
        if self._is_over:
            note = None if last is None or last.failure is None else self._note_of(last.failure)
            self._send(Closed(note, reported_again=self._loop_is_too_long))
        else:
            self._is_over = True
            self._send(replace(last or progress.ended(), is_last=True))
            self._send(Closed())
        return 0 if last is None else 1

    def _load(self) -> tuple[str | None, Callable[..., Any] | None]:
        """(What is wrong with the trainable, the function)."""
        import cloudpickle

        try:
            found = cloudpickle.loads(self._settings.trainable) if self._block is None else load_block(self._block)
            return None, load_trainable(found, settings=self._settings, working_dir=self._setup.working_dir)
        except BaseException as error:  # SystemExit too: a module may call sys.exit on import
            traceback.print_exc()
            return import_failure(error), None

    def _call(self, function: Callable[..., Any], progress: Reporter) -> Reply | None:
        """Call the function; None when it came to its end, or was ended, without a failure."""
        progress.context.on_report = self._take
        try:
            prepare_process(progress.context)
            returned = function(dict(self._setup.assignment.config))
            if isinstance(returned, Iterator):
                self._take_all(MetricsIterator(returned, progress.context))
            elif isinstance(returned, Mapping) and returned and not self._is_over:
                self._take(dict(returned))
        except TrialStopped:
            return None
        except BaseException as error:
            if isinstance(error, SystemExit) and not error.code:
                return None
            traceback.print_exc()
            return progress.failed(error)
        return None

    def _take_all(self, rows: MetricsIterator) -> None:
        while (row := rows.next_metrics()) is not None:
            try:
                self._take(row)
            except TrialStopped:
                rows.close()
                raise

    def _take(self, row: dict[str, Any]) -> None:
        """Hand over a row, and wait until the trial shall go on; the user's code is here while it waits."""
        with self._lock:  # a function may report from threads of its own
            if self._is_over:
                self._loop_is_too_long = self._runs_out
                raise TrialStopped
            assert self._progress is not None
            self._send(self._progress.next_epoch(row, save=self._step.save))
            self._await()

    def _await(self) -> None:
        """Wait for the rank's word.

        Raises:
            TrialStopped: The trial is over.
        """
        try:
            message = self._channel.receive()
        except ChannelClosed:
            os._exit(1)  # the rank is gone, and the server ends what is left
        assert message is not None
        word = message.content
        if isinstance(word, Step):
            self._step = word
            return
        assert isinstance(word, Finish)
        self._is_over, self._runs_out = True, word.run_to_end
        if word.save and self._progress is not None:
            self._progress.save()
        if self._progress is not None:
            self._progress.context.is_over = True
        self._send(Saved())
        if not word.run_to_end:
            raise TrialStopped

    def _note_of(self, failure: Failed) -> str:
        when = "after its last epoch" if self._runs_out else "while it was stopped"
        return f"{when}: {failure.evidence}"

    def _send(self, content: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the disk is full; the user's code has closed it
                stream.flush()
        with suppress(ChannelClosed):
            self._channel.send(content)


@final
class _Told(SharedDataHost):
    """Tells the rank what the trial shares, so that it is there for the next one."""

    def __init__(self, channel: Channel, listings: dict[str, str]) -> None:
        self._channel, self._listings = channel, listings
        self._blocks: set[str] = set()

    def hold_block(self, name: str, file: int) -> None:
        if name not in self._blocks:
            self._blocks.add(name)
            with suppress(ChannelClosed):
                self._channel.send(UsesBlock(name), (file,))

    def find_listing(self, path: str) -> str | None:
        return self._listings.get(path)

    def store_listing(self, path: str, digest: str) -> None:
        self._listings[path] = digest
        with suppress(ChannelClosed):
            self._channel.send(Listed(path, digest))


def enter(setup: TrialSetup) -> None:
    """Make the process the trial's: its name, log, environment, folder, search path and threads."""
    from hpsearch.slots.forked.process_title import setproctitle

    settings, assignment, position = setup.settings, setup.assignment, setup.position
    os.setsid()
    setproctitle(f"hpsearch {settings.sweep} trial {assignment.number} rank {position.rank}")
    log = log_path(Path(settings.sweep_dir), assignment.number)
    log.parent.mkdir(parents=True, exist_ok=True)
    _own_log(log)
    os.environ.clear()
    os.environ.update(setup.environment)
    os.environ.update(RAY_STAYS_ALONE)
    os.environ.update(rank_variables(position, setup.rendezvous))
    os.environ["CUDA_VISIBLE_DEVICES"] = position.gpus if settings.request.gpu else ""
    claim_descendants()
    os.chdir(setup.working_dir)
    sys.path[:] = setup.sys_path
    sys.modules["__main__"] = ModuleType("__main__")
    lightning.install()
    set_torch_threads(settings)


def _own_log(path: Path) -> None:
    """Lead what this process and its children print to the trial's log, and give it no input."""
    log = open_log(path)
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    log.close()
    replace_standard_streams()
    faulthandler.enable()
