"""Lightning in a trial: a trainer takes the ranks that the trial has, and starts no processes of its own.

Lightning reads rank and world size from the environment, but counts the devices itself. On CPUs `devices="auto"` is
one, so that each rank would train alone, on all of the data, without a word. With more devices than ranks it starts the
script again for each of them, outside of the sweep. Its modules are changed here as soon as they are imported; nothing
of Lightning is imported by hpsearch.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, final

from hpsearch.errors import InvalidConfig
from hpsearch.training.environment import has_rank_variables


def install() -> None:
    """Change Lightning's modules: those that are there now, the others when they are imported."""
    for name, change in CHANGES.items():
        if name in sys.modules:
            change(sys.modules[name])
    if not any(isinstance(each, LightningImports) for each in sys.meta_path):
        sys.meta_path.insert(0, LightningImports())


@final
class LightningImports(MetaPathFinder):
    """Changes a module of Lightning's right after it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python finds, with the change to come; None for all modules but a few of Lightning's."""
        change = CHANGES.get(fullname)
        spec = None if change is None else PathFinder.find_spec(fullname, path, target)
        if change is None or spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        run = loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            change(module)

        loader.exec_module = run_and_change
        return spec


def _take_ranks(kind: str) -> Callable[[Any], None]:
    """`devices="auto"` is one device for each rank of the trial on this node."""

    def change(module: Any) -> None:
        accelerator = getattr(module, kind)
        count = accelerator.auto_device_count
        if hasattr(count, "__wrapped__"):
            return

        @functools.wraps(count)
        def auto_device_count() -> int:
            return int(os.environ.get("LOCAL_WORLD_SIZE") or count())

        accelerator.auto_device_count = staticmethod(auto_device_count)

    return change


def _check_before(kind: str, *, training: str, others: Sequence[str]) -> Callable[[Any], None]:
    """Methods of a class that train, and others that may start processes, look at the class's strategy first."""

    def change(module: Any) -> None:
        for name in (training, *others):
            _check_method(getattr(module, kind), name, trains=name == training)

    return change


def _check_method(owner: Any, name: str, *, trains: bool) -> None:
    method = getattr(owner, name)
    if hasattr(method, "__wrapped__"):
        return

    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_starts_none(self.strategy)
        if trains:
            check_knows_ranks(self.strategy)
        return method(self, *args, **kwargs)

    setattr(owner, name, checked)


def check_starts_none(strategy: Any) -> None:
    """Refuse a strategy that would start processes.

    Args:
        strategy: Of Lightning.

    Raises:
        InvalidConfig: It would, and what they train would be no part of the trial.
    """
    if getattr(strategy, "launcher", None) is None:
        return
    wanted = getattr(strategy, "num_processes", 1) * getattr(strategy, "num_nodes", 1)
    if not has_rank_variables():
        if wanted > 1:
            raise InvalidConfig(
                f"Lightning would run the whole script again, outside of the sweep, for each of its {wanted} devices"
                f" but the first. Set resources.workers: {wanted} and leave devices alone."
            )
    elif getattr(strategy, "_start_method", "popen") != "popen":
        raise InvalidConfig(
            f"Lightning would start {wanted} processes in each of the trial's {os.environ['WORLD_SIZE']} ranks, which"
            " are its processes already. Leave strategy alone, or set it to 'ddp'."
        )


def check_knows_ranks(strategy: Any) -> None:
    """Refuse a strategy that would train on each rank alone.

    Args:
        strategy: Of Lightning.

    Raises:
        InvalidConfig: It has another number of processes than the trial.
    """
    ranks = int(os.environ["WORLD_SIZE"]) if has_rank_variables() else 1
    found = getattr(strategy, "world_size", 1)
    if ranks > 1 and found != ranks:
        raise InvalidConfig(
            f"Lightning's {type(strategy).__name__} knows of {found} process, so that each of the trial's {ranks} ranks"
            f" would train alone, on all of the data. Leave devices and strategy alone, or set"
            f" resources.workers: {found}."
        )


_TRAINER = _check_before("Trainer", training="fit", others=("validate", "test", "predict"))
_FABRIC = _check_before("Fabric", training="setup", others=("launch",))
CHANGES: Mapping[str, Callable[[Any], None]] = {
    "pytorch_lightning.accelerators.cpu": _take_ranks("CPUAccelerator"),
    "pytorch_lightning.accelerators.cuda": _take_ranks("CUDAAccelerator"),
    "pytorch_lightning.trainer.trainer": _TRAINER,
    "lightning_fabric.accelerators.cpu": _take_ranks("CPUAccelerator"),
    "lightning_fabric.accelerators.cuda": _take_ranks("CUDAAccelerator"),
    "lightning_fabric.fabric": _FABRIC,
    "lightning.pytorch.accelerators.cpu": _take_ranks("CPUAccelerator"),
    "lightning.pytorch.accelerators.cuda": _take_ranks("CUDAAccelerator"),
    "lightning.pytorch.trainer.trainer": _TRAINER,
    "lightning.fabric.accelerators.cpu": _take_ranks("CPUAccelerator"),
    "lightning.fabric.accelerators.cuda": _take_ranks("CUDAAccelerator"),
    "lightning.fabric.fabric": _FABRIC,
}
"""Modules of Lightning's three packages, and what is changed in each."""
