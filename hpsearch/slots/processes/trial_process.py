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
from hpsearch.slots import lightning
from hpsearch.slots.diagnosis import failure_of, user_place
from hpsearch.slots.process_tree import adopt
from hpsearch.slots.processes.channel import Channel, ChannelClosed
from hpsearch.slots.processes.messages import Closed, Finish, Listed, Reply, Saved, Step, TrialSetup, UsesBlock
from hpsearch.slots.progress import Progress
from hpsearch.slots.protocol import Failed
from hpsearch.slots.ray_tune_session import uses_ray_tune
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import open_log, own_streams
from hpsearch.slots.with_parameters import load_block
from hpsearch.slots.world import variables
from hpsearch.training.sharing import Sharing
from hpsearch.training.stepper import Rows, prepare_process

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
        self._progress: Progress | None = None
        self._is_over = self._runs_out = self._goes_on = False
        self._lock = threading.RLock()
        enter(setup)

    def run(self) -> int:
        """Train; the process's exit status."""
        mistake, function = self._load()
        try:
            self._await()
        except TrialStopped:  # before its first epoch
            return 0
        if function is None:
            self._send(Reply(mistake=mistake, is_last=True))
            return 0
        progress = Progress(
            self._setup.assignment,
            settings=self._settings,
            place=self._setup.place,
            ranks_here=self._setup.ranks_here,
            in_ray_session=uses_ray_tune(function),
            sharing=_Told(self._channel, dict(self._setup.listings)),
        )
        self._progress = progress
        with progress.active():
            last = self._call(function, progress)
        if self._is_over:
            note = None if last is None or last.failure is None else self._note_of(last.failure)
            self._send(Closed(note, goes_on=self._goes_on))
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
            return import_mistake(error), None

    def _call(self, function: Callable[..., Any], progress: Progress) -> Reply | None:
        """Call the function; None when it came to its end, or was ended, without a failure."""
        progress.context.on_report = self._take
        try:
            prepare_process(progress.context)
            returned = function(dict(self._setup.assignment.config))
            if isinstance(returned, Iterator):
                self._take_all(Rows(returned, progress.context))
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

    def _take_all(self, rows: Rows) -> None:
        while (row := rows.next_row()) is not None:
            try:
                self._take(row)
            except TrialStopped:
                rows.close()
                raise

    def _take(self, row: dict[str, Any]) -> None:
        """Hand over a row, and wait until the trial shall go on; the user's code is here while it waits."""
        with self._lock:  # a function may report from threads of its own
            if self._is_over:
                self._goes_on = self._runs_out
                raise TrialStopped
            assert self._progress is not None
            self._send(self._progress.counted(row, save=self._step.save))
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
        self._is_over, self._runs_out = True, word.to_its_end
        if word.save and self._progress is not None:
            self._progress.save()
        if self._progress is not None:
            self._progress.context.is_over = True
        self._send(Saved())
        if not word.to_its_end:
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
class _Told(Sharing):
    """Tells the rank what the trial shares, so that it is there for the next one."""

    def __init__(self, channel: Channel, listings: dict[str, str]) -> None:
        self._channel, self._listings = channel, listings
        self._blocks: set[str] = set()

    def uses(self, name: str, file: int) -> None:
        if name not in self._blocks:
            self._blocks.add(name)
            with suppress(ChannelClosed):
                self._channel.send(UsesBlock(name), (file,))

    def listing(self, path: str) -> str | None:
        return self._listings.get(path)

    def listed(self, path: str, text: str) -> None:
        self._listings[path] = text
        with suppress(ChannelClosed):
            self._channel.send(Listed(path, text))


def enter(setup: TrialSetup) -> None:
    """Make the process the trial's: its name, log, environment, folder, search path and threads."""
    from hpsearch.slots.processes.title import setproctitle

    settings, assignment, place = setup.settings, setup.assignment, setup.place
    os.setsid()
    setproctitle(f"hpsearch {settings.sweep} trial {assignment.number} rank {place.rank}")
    folder = Path(settings.trials_dir) / f"{assignment.number:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    _own_log(folder / "log.txt")
    os.environ.clear()
    os.environ.update(setup.environment)
    os.environ.update(RAY_STAYS_ALONE)
    os.environ.update(variables(place, setup.meeting))
    os.environ["CUDA_VISIBLE_DEVICES"] = place.gpus if settings.request.gpu else ""
    adopt()
    os.chdir(setup.working_dir)
    sys.path[:] = setup.sys_path
    sys.modules["__main__"] = ModuleType("__main__")
    lightning.install()
    _set_threads(settings)


def _own_log(path: Path) -> None:
    """Lead what this process and its children print to the trial's log, and give it no input."""
    log = open_log(path)
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    log.close()
    own_streams()
    faulthandler.enable()


def _set_threads(settings: SlotSettings) -> None:
    import torch

    if not settings.request.gpu:
        torch.set_num_threads(max(1, int(settings.request.cpu)))


def load_trainable(found: Any, *, settings: SlotSettings, working_dir: str) -> Callable[..., Any]:
    """The user's function, imported as a program without arguments would import it.

    Args:
        found: A function, or the `TrainableSource` that says where it is in the driver's folders.
        settings: Of the sweep.
        working_dir: Of the user's code on this machine.

    Raises:
        BaseException: Whatever the user's module raises.
    """
    from hpsearch.cluster.nodes import moved
    from hpsearch.trainable.locate import TrainableSource, load

    if not isinstance(found, TrainableSource):
        sys.argv = [""]
        return found  # type: ignore[no-any-return]
    path = found.file_path
    if path is not None:
        found = replace(found, file_path=Path(moved(str(path), old=settings.working_dir, new=working_dir)))
    sys.argv = [str(found.file_path or found.module)]
    return load(found)


def import_mistake(error: BaseException) -> str:
    """Why a trainable can't be used: what was raised, and the last frame of the user's own code."""
    return f"it can't be imported: {type(error).__name__}: {error} ({user_place(error.__traceback__)})"
