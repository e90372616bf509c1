"""One process of a slot: it imports torch once, then trains trial after trial.

A `Rank` is a plain class that Ray turns into an actor (`rank_group.py`); it never sees the driver. One call does one
epoch. Whatever a trainable does wrong comes back as data, so that an exception from a call means that the process is
lost.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from hpsearch.devices.inventory import host_cpus
from hpsearch.slots.causes import failure_of, is_echo, poisons_process
from hpsearch.slots.console import TrialLog
from hpsearch.slots.events import Assignment, Failed
from hpsearch.slots.settings import SlotSettings

LEAK_BYTES = 64 * 2**20
"""Tensors that a trial leaves behind below this size never cost a restart."""
LEAKS_IN_A_ROW = 3
"""A rank is restarted after so many trials in a row that each left more behind: a cache stops growing."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a rank answers to one call of `step`."""

    row: object = None
    """What the trainable yielded, if it did; only rank 0 sends it."""
    ended: bool = False
    """The trainable came to its end."""
    failure: Failed | None = None
    """The trainable raised."""
    echo: bool = False
    """The failure only says that another rank failed first."""
    poisoned: bool = False
    """The process can't be trusted with another trial."""
    unusable: str | None = None
    """The trainable can't be imported."""
    epoch: int = 0
    """Epochs done, those before a checkpoint included."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint of this attempt, or of the one that it began with."""
    save_s: float = 0.0
    """Seconds that the last checkpoint took to write."""
    gpu_gib: float | None = None
    """Most GPU memory reserved by this process during the attempt."""
    host_gib: float | None = None
    """Most memory resident of this process during the attempt."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What a rank says after it let go of a trial."""

    fit: bool
    """Whether it can take another trial."""
    notes: tuple[str, ...] = ()
    """What did not come clean, in sentences."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint."""


class Rank:
    """Rank `rank` of a slot."""

    def __init__(self, settings: SlotSettings, rank: int) -> None:
        self.settings = settings
        self.rank = rank
        self._function: Callable[..., Any] | None = None
        self._attempt: _Attempt | None = None
        self._stray_bytes: list[int] = []
        self.in_ray_session = False
        self._enter_driver_environment()
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(max(1, int(settings.request.cpu)))

    def _enter_driver_environment(self) -> None:
        """Look like the driver to the user's code, but for the devices, which Ray chose."""
        os.environ.update(self.settings.environment)
        if not self.settings.request.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves every GPU visible to who asked for none
        os.chdir(self.settings.working_dir)
        sys.path[:] = [*self.settings.sys_path, *(path for path in sys.path if path not in self.settings.sys_path)]

    def describe(self) -> dict[str, Any]:
        """Process id, node and the GPUs that this process sees."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {
            "pid": os.getpid(),
            "node": node,
            "address": ray.util.get_node_ip_address(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    def rendezvous(self) -> tuple[str, int]:
        """An address and a free port of this process's node, where the ranks can meet."""
        import ray

        from hpsearch.training.parallel import free_port

        return ray.util.get_node_ip_address(), free_port()

    def join(self, address: str, port: int) -> None:
        """Meet the other ranks in a process group that lasts as long as the slot."""
        from hpsearch.training.parallel import join

        join(self.rank, self.settings.request.workers, address=address, port=port, device=_device())

    def leave(self) -> None:
        """Leave the process group."""
        from hpsearch.training.parallel import leave

        leave()

    def load(self) -> str | None:
        """Import the trainable, so that what is wrong with it is known before the first trial; None if nothing is."""
        import cloudpickle

        from hpsearch.slots.ray_session import uses_ray_tune
        from hpsearch.trainable import TrainableSource, load

        try:
            found = cloudpickle.loads(self.settings.trainable)
            self._function = load(found) if isinstance(found, TrainableSource) else found
            self.in_ray_session = uses_ray_tune(cast(Callable[..., Any], self._function))
        except BaseException as error:  # SystemExit too: a module may call sys.exit on import
            return _import_error(error)
        gc.collect()
        gc.freeze()  # what is alive now stays: collections between trials take a millisecond instead of 80
        return None

    def step(self, assignment: Assignment | None, save: bool) -> Reply:
        """Train one epoch; of a new attempt, if there is an assignment.

        State is written when `save` says so (the supervisor's clock, one for all ranks), at the epochs that the
        assignment names, and at the end.
        """
        if assignment is not None:
            self._attempt = _Attempt(self, assignment, cast(Callable[..., Any], self._function))
        assert self._attempt is not None
        return self._attempt.advance(save=save)

    def finish(self, save: bool = False) -> Cleaned:
        """Let go of the attempt and leave the process clean for the next; does nothing if there is none."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return Cleaned(fit=True)
        closed = attempt.close(save=save)
        checkpoint_epoch = attempt.checkpoint_epoch
        notes = [] if closed else ["the trainable ignored its end and still runs"]
        del attempt
        notes += self._sweep_up()
        return Cleaned(fit=closed and not self._leaks(), notes=tuple(notes), checkpoint_epoch=checkpoint_epoch)

    def _sweep_up(self) -> list[str]:
        """Collect garbage, empty the GPU's cache, count the tensors that a trial left behind."""
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        stray = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        size = sum(tensor.untyped_storage().nbytes() for tensor in stray)
        self._stray_bytes = [*self._stray_bytes[-LEAKS_IN_A_ROW:], size]
        return (
            [f"{len(stray)} tensors of {size / 2**20:.0f} MiB are still alive after the trial"]
            if size > LEAK_BYTES
            else []
        )

    def _leaks(self) -> bool:
        sizes = self._stray_bytes
        grew = all(later > earlier for earlier, later in pairwise(sizes))
        return len(sizes) > LEAKS_IN_A_ROW and grew and sizes[-1] > LEAK_BYTES


class _Attempt:
    """One attempt at one trial in this process."""

    def __init__(self, owner: Rank, assignment: Assignment, function: Callable[..., Any]) -> None:
        from hpsearch.slots.ray_session import RaySession
        from hpsearch.training.trial import TrialContext

        settings, rank = owner.settings, owner.rank
        self._owner, self._assignment, self._function = owner, assignment, function
        self._trial_dir = Path(settings.trials_dir) / f"{assignment.number:04d}"
        self._trial_dir.mkdir(parents=True, exist_ok=True)
        self._log = TrialLog(self._trial_dir / "log.txt")
        self._context = TrialContext(
            number=assignment.number,
            rank=rank,
            world_size=settings.request.workers,
            device=_device(),
            seed=assignment.seed,
            data=dict(settings.data),
            precision=settings.precision,
            loader_workers=_loader_workers(settings),
            checkpoint_dir=self._trial_dir / "checkpoint",
        )
        self._ray = RaySession(self._context, self._trial_dir) if owner.in_ray_session else None
        self._stepper: Any = None
        self._save_s = 0.0
        self.checkpoint_epoch: int | None = None
        _reset_peaks()

    def advance(self, *, save: bool) -> Reply:
        with self._log.capture():
            try:
                row = self._next_row(save=save)
            except BaseException as error:
                if isinstance(error, SystemExit) and not error.code:
                    return self._reply(ended=True)
                traceback.print_exc()
                failure = failure_of(error)
                return self._reply(failure=failure, echo=is_echo(error), poisoned=poisons_process(error))
        if row is None:
            return self._reply(ended=True)
        return self._reply(row=row if self._owner.rank == 0 else {})

    def _next_row(self, *, save: bool) -> object:
        from hpsearch.training.stepper import make_stepper

        with self._active():
            if self._stepper is None:
                self._stepper = make_stepper(self._function, dict(self._assignment.config), self._context)
            row = self._stepper.advance()
            if save or row is None or self._context.epochs_done in self._assignment.save_epochs:
                self._save()
        return row

    @contextmanager
    def _active(self) -> Iterator[None]:
        """The user's code finds this attempt, as `current_trial` and, if it asks for it, as Ray Tune's session."""
        from hpsearch.training.trial import activate

        with activate(self._context), self._ray.active() if self._ray else nullcontext():
            yield
        if self._ray is not None:
            self.checkpoint_epoch = self._ray.checkpoint_epoch or self.checkpoint_epoch

    def _save(self) -> None:
        if not self._context.kept or self.checkpoint_epoch == self._context.epochs_done:
            return
        start = time.monotonic()
        self.checkpoint_epoch = self._context.save()
        self._save_s = time.monotonic() - start

    def close(self, *, save: bool) -> bool:
        """Whether the trainable is really over."""
        closed = True
        with self._log.capture():
            try:
                with self._active():
                    if save:
                        self._save()
                    closed = self._stepper.close() if self._stepper is not None else True
            except BaseException:  # a `finally` of the user's that fails: the trial is over all the same
                traceback.print_exc()
        self._log.close()
        return closed

    def _reply(self, **values: Any) -> Reply:
        if self.checkpoint_epoch is None:
            self.checkpoint_epoch = self._context.resumed_from or None
        warning = self._context.checkpoint_warning
        if warning:
            self._log.note(warning)
        gpu_gib, host_gib = _peaks()
        return Reply(
            epoch=self._context.epochs_done,
            checkpoint_epoch=self.checkpoint_epoch,
            save_s=self._save_s,
            gpu_gib=gpu_gib,
            host_gib=host_gib,
            **values,
        )


def _device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _loader_workers(settings: SlotSettings) -> int:
    """This rank's share of the DataLoader processes that all trials of the machine may start together."""
    from hpsearch.training.data import loader_workers

    ranks = settings.concurrent * settings.request.workers
    return loader_workers(settings.request.gpu * ranks, host_cpus(), ranks)


def _reset_peaks() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of resident memory


def _peaks() -> tuple[float | None, float | None]:
    """(GPU, host) GiB: most memory reserved and most memory resident since the attempt began."""
    import torch

    gpu = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        host = next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        host = None
    return gpu, host


def _import_error(error: BaseException) -> str:
    """The last frame of the user's own code, and what was raised there."""
    from hpsearch.devices.inventory import host_cpus
from hpsearch.slots.causes import user_place

    return f"it can't be imported: {type(error).__name__}: {error} ({user_place(error.__traceback__)})"


faulthandler.enable()
