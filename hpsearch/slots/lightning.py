"""Lightning in a trial: a trainer uses the ranks of the trial and starts no processes of its own.

Lightning reads rank and world size from the environment, but counts the devices itself. On CPUs `devices="auto"` means
one, so that each rank would silently train alone, on all of the data. With more devices than ranks Lightning starts the
script again for each of them, outside of the sweep. Functions of Lightning are therefore replaced right after its
modules are imported; hpsearch itself imports nothing of Lightning.
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
    """Patch the modules of Lightning: those that are imported now, others as soon as they are imported."""
    for name, change in CHANGES.items():
        if name in sys.modules:
            change(sys.modules[name])
    if not any(isinstance(each, LightningImports) for each in sys.meta_path):
        sys.meta_path.insert(0, LightningImports())


@final
class LightningImports(MetaPathFinder):
    """An import hook that patches modules of Lightning right after they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module in CHANGES, with a loader that patches it; None for all other modules."""
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


def _use_ranks(kind: str) -> Callable[[Any], None]:
    """A patch of the accelerator class `kind`: `devices="auto"` means one device for each rank on this node."""

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
    """A patch of the class `kind`: the method `training`, and `others` that may start processes, check the strategy."""

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
    """Refuse a strategy that would start processes, whose training would not be part of the trial.

    Args:
        strategy: A strategy of Lightning.

    Raises:
        InvalidConfig: It would start processes.
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
    """Refuse a strategy with which each rank would train alone.

    Args:
        strategy: A strategy of Lightning.

    Raises:
        InvalidConfig: It does not use all ranks of the trial.
    """
    ranks = int(os.environ["WORLD_SIZE"]) if has_rank_variables() else 1
    found = getattr(strategy, "world_size", 1)
    if ranks > 1 and found != ranks:
        raise InvalidConfig(
            f"Lightning's {type(strategy).__name__} uses {found} process, so that each of the trial's {ranks} ranks"
            f" would train alone, on all of the data. Leave devices and strategy alone, or set"
            f" resources.workers: {found}."
        )


_TRAINER = _check_before("Trainer", training="fit", others=("validate", "test", "predict"))
"""The patch of Lightning's `Trainer`."""
_FABRIC = _check_before("Fabric", training="setup", others=("launch",))
"""The patch of Lightning's `Fabric`."""
CHANGES: Mapping[str, Callable[[Any], None]] = {
    "pytorch_lightning.accelerators.cpu": _use_ranks("CPUAccelerator"),
    "pytorch_lightning.accelerators.cuda": _use_ranks("CUDAAccelerator"),
    "pytorch_lightning.trainer.trainer": _TRAINER,
    "lightning_fabric.accelerators.cpu": _use_ranks("CPUAccelerator"),
    "lightning_fabric.accelerators.cuda": _use_ranks("CUDAAccelerator"),
    "lightning_fabric.fabric": _FABRIC,
    "lightning.pytorch.accelerators.cpu": _use_ranks("CPUAccelerator"),
    "lightning.pytorch.accelerators.cuda": _use_ranks("CUDAAccelerator"),
    "lightning.pytorch.trainer.trainer": _TRAINER,
    "lightning.fabric.accelerators.cpu": _use_ranks("CPUAccelerator"),
    "lightning.fabric.accelerators.cuda": _use_ranks("CUDAAccelerator"),
    "lightning.fabric.fabric": _FABRIC,
}
"""Name of a module, in any of the three packages of Lightning, to the patch of it."""
