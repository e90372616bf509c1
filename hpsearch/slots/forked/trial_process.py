"""The process of one attempt at a trial, from fork to exit. The user's code runs here, without a connection to Ray.

The trainable is called once, in the main thread. At each report (`yield` or `report`) it waits until its rank asks for
the next epoch or ends the attempt. All changes that it makes to its process end with the process.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, final

from hpsearch.errors import TrialStopped
from hpsearch.paths import log_path
from hpsearch.slots import lightning
from hpsearch.slots.diagnosis import failure_of, has_returned
from hpsearch.slots.forked.channel import Channel, ChannelClosed
from hpsearch.slots.forked.messages import Begins, Closed, Finish, Saved, SharesBlock, SharesListing, Step, TrialSetup
from hpsearch.slots.not_begun import could_not_begin
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
from hpsearch.training.output import flush_streams, log_exception
from hpsearch.training.stepper import MetricsIterator, prepare_process

NO_SECOND_RAY = {"RAY_ENABLE_AUTO_CONNECT": "0"}
"""Environment variables with which `ray.get` in a trial raises an error, and does not start a second Ray."""


def run_and_exit(setup: TrialSetup, channel: Channel, function: int | None) -> NoReturn:
    """Run an attempt and exit; to be called in a process that has just been forked.

    Args:
        setup: What to run.
        channel: Channel to the rank.
        function: Open file of a block with the function, see `with_parameters`; None for the function of the settings.
    """
    status = 1
    runner = TrialRunner(setup, channel, function)
    try:
        set_up_process(setup)
        status = runner.run()
    except BaseException as error:  # for example a log that can't be written, a full disk, a defect of hpsearch
        log_exception()
        begun = runner.has_called
        failure = failure_of(error) if begun else could_not_begin(error, during="set-up of the trial's process")
        with suppress(ChannelClosed):
            channel.send(Reply(failure=failure, is_last=True))
    _exit(status)


def _exit(status: int) -> NoReturn:
    """Exit as a program does: join threads, run the functions that are registered with atexit, flush streams."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter, and multiprocessing's children, do
        atexit._run_exitfuncs()
    except BaseException:
        log_exception()
        status = status or 1
    flush_streams()
    os._exit(status)


@final
class TrialRunner:
    """Runs the user's function, and replies to its rank; to be used after `set_up_process`.

    Args:
        setup: What to run.
        channel: Channel to the rank.
        block: Open file of a block with the function; None for the function of the settings.
    """

    def __init__(self, setup: TrialSetup, channel: Channel, block: int | None) -> None:
        self._setup, self._settings, self._channel, self._block = setup, setup.settings, channel, block
        self._step = Step(save=False)
        self._reporter: Reporter | None = None
        """None until the trainable is imported."""
        self._is_over = False
        """Whether the trainable has ended, or the rank has ended the attempt."""
        self._runs_to_end = False
        """Whether the code after the last epoch runs."""
        self._reported_again = False
        """Whether the trainable reported again after its last epoch."""
        self._lock = threading.RLock()
        self.has_called = False
        """Whether the function has been called, so that a failure may be its own."""

    def run(self) -> int:
        """Import the trainable and train; returns the exit status for the process."""
        self._send(Begins())
        trainable_error, function = self._load()
        try:
            self._wait_for_rank()
        except TrialStopped:  # before the first epoch
            return 0
        if function is None:
            self._send(Reply(trainable_error=trainable_error, is_last=True))
            return 0
        reporter = Reporter(
            self._setup.assignment,
            settings=self._settings,
            position=self._setup.position,
            ranks_here=self._setup.ranks_here,
            in_ray_session=uses_ray_tune(function),
            sharing=_RankAsHost(self._channel, dict(self._setup.listings)),
        )
        self._reporter = reporter
        with reporter.active():
            prepare_process(reporter.context)
            self.has_called = True
            last = self._call(function, reporter)
        if self._is_over:
            note = None if last is None or last.failure is None else self._note_on(last.failure)
            self._send(Closed(note, reported_again=self._reported_again))
        else:
            self._is_over = True
            self._send(replace(last or reporter.ended(), is_last=True))
            self._send(Closed())
        return 0 if last is None else 1

    def _load(self) -> tuple[str | None, Callable[..., Any] | None]:
        """Import the function: (None, function), or (what is wrong with it, None)."""
        import cloudpickle

        try:
            found = cloudpickle.loads(self._settings.trainable) if self._block is None else load_block(self._block)
            return None, load_trainable(found, settings=self._settings, working_dir=self._setup.working_dir)
        except BaseException as error:  # SystemExit too: a module may call sys.exit on import
            log_exception()
            return import_failure(error), None

    def _call(self, function: Callable[..., Any], reporter: Reporter) -> Reply | None:
        """Call the function until it returns or is stopped; returns None, or the reply with its failure."""
        reporter.context.on_report = self._report
        try:
            returned = function(dict(self._setup.assignment.config))
            if isinstance(returned, Iterator):
                self._report_all(MetricsIterator(returned, reporter.context))
            elif isinstance(returned, Mapping) and returned and not self._is_over:
                self._report(dict(returned))
        except TrialStopped:
            return None
        except BaseException as error:
            if has_returned(error):
                return None
            log_exception()
            return reporter.failed(error)
        return None

    def _report_all(self, iterator: MetricsIterator) -> None:
        while (metrics := iterator.next_metrics()) is not None:
            try:
                self._report(metrics)
            except TrialStopped:
                iterator.close()
                raise

    def _report(self, metrics: dict[str, Any]) -> None:
        """Reply to the rank with the metrics of an epoch, and wait for its next message.

        The user's code is inside `report`, or at its `yield`, while it waits.

        Raises:
            TrialStopped: The attempt is over.
        """
        with self._lock:  # a function may report from threads of its own
            if self._is_over:
                self._reported_again = self._runs_to_end
                raise TrialStopped
            assert self._reporter is not None
            self._send(self._reporter.next_epoch(metrics, save=self._step.save))
            self._wait_for_rank()

    def _wait_for_rank(self) -> None:
        """Wait until the rank asks for the next epoch or ends the attempt.

        Raises:
            TrialStopped: The attempt is over, and the code after the last epoch does not run.
        """
        try:
            message = self._channel.receive()
        except ChannelClosed:
            os._exit(1)  # the rank is gone, and the server kills what is left
        assert message is not None
        request = message.content
        if isinstance(request, Step):
            self._step = request
            return
        assert isinstance(request, Finish)
        self._is_over, self._runs_to_end = True, request.run_to_end
        if request.save and self._reporter is not None:
            self._reporter.save()
        if self._reporter is not None:
            self._reporter.context.is_over = True
        self._send(Saved())
        if not request.run_to_end:
            raise TrialStopped

    def _note_on(self, failure: Failed) -> str:
        when = "after its last epoch" if self._runs_to_end else "while it was stopped"
        return f"{when}: {failure.evidence}"

    def _send(self, content: object) -> None:
        flush_streams()
        with suppress(ChannelClosed):
            self._channel.send(content)


@final
class _RankAsHost(SharedDataHost):
    """Sends the shared data of the trial to its rank, which keeps it for the next trial."""

    def __init__(self, channel: Channel, listings: dict[str, str]) -> None:
        self._channel, self._listings = channel, listings
        self._blocks: set[str] = set()

    def hold_block(self, name: str, file: int) -> None:
        if name not in self._blocks:
            self._blocks.add(name)
            with suppress(ChannelClosed):
                self._channel.send(SharesBlock(name), (file,))

    def find_listing(self, path: str) -> str | None:
        return self._listings.get(path)

    def store_listing(self, path: str, digest: str) -> None:
        self._listings[path] = digest
        with suppress(ChannelClosed):
            self._channel.send(SharesListing(path, digest))


def set_up_process(setup: TrialSetup) -> None:
    """Set the session, title, log, environment, working directory, module search path and threads of the process."""
    from hpsearch.slots.forked.process_title import setproctitle

    settings, assignment, position = setup.settings, setup.assignment, setup.position
    os.setsid()
    setproctitle(f"hpsearch {settings.sweep} trial {assignment.number} rank {position.rank}")
    _redirect_output(log_path(Path(settings.sweep_dir), assignment.number))
    os.environ.clear()
    os.environ.update(setup.environment)
    os.environ.update(NO_SECOND_RAY)
    os.environ.update(rank_variables(position, setup.rendezvous))
    os.environ["CUDA_VISIBLE_DEVICES"] = position.gpus if settings.request.gpu else ""
    claim_descendants()
    os.chdir(setup.working_dir)
    sys.path[:] = setup.sys_path
    sys.modules["__main__"] = ModuleType("__main__")
    lightning.install()
    set_torch_threads(settings)


def _redirect_output(path: Path) -> None:
    """Send the output of this process and its children to the trial's log, and leave it without input."""
    log = open_log(path)
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    log.close()
    replace_standard_streams()
    faulthandler.enable()
