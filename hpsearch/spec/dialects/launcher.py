"""Reads launchers in a W&B sweep's `command`, such as `torchrun --nproc_per_node=2`: how many processes run the script.

hpsearch starts the processes of a trial itself and connects them, so options that only concern this are ignored. Any
other option is a mistake, since a trial must not train differently from what its command says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from hpsearch.errors import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A launcher's settings for the processes of a trial."""

    name: str
    """Its name in messages."""
    workers: int
    """Number of processes that run the script, each a rank."""
    is_on_cpu: bool
    """Whether the processes don't use GPUs."""
    command: tuple[str, ...]
    """The command after `python`: the script or `-m` and a module, then the arguments."""
    arguments: tuple[str, ...]
    """Arguments that the launcher adds before the script's own."""


@dataclass(frozen=True, kw_only=True)
class _Only:
    """An option that has no effect with some values and can't be translated with others."""

    values: tuple[str, ...]
    """Values without an effect."""
    reason: str
    """Why other values can't be translated."""
    advice: str
    """What to write instead; `{name}` is the launcher, `{key}` the option and `{value}` its value."""


_Meaning = Literal["ignored", "ignored with its value", "count", "module", "cpu", "no local rank"] | _Only
"""Meaning of an option. It has a value if it is `count`, an `_Only`, or ignored with its value."""


@dataclass(frozen=True, kw_only=True)
class _Launcher:
    """The options of a launcher."""

    name: str
    """Its name in messages."""
    options: Mapping[str, _Meaning]
    """Name to meaning; names are without leading dashes and with underscores for other dashes."""
    default_workers: int | None
    """Number of processes without an option; None if the launcher decides by the machine."""
    local_rank: str | None = None
    """Argument by which the launcher passes the local rank to the script; None if it passes none."""


_MACHINES = "a command starts the processes of one machine"
_ALL_PROCESSES = "Write resources: {{workers: N}} with the number of all processes, instead of {name}."
_ONE_MACHINE = _Only(values=("1", "1:1"), reason=_MACHINES, advice=_ALL_PROCESSES)
_FIRST_MACHINE = _Only(values=("0",), reason=_MACHINES, advice=_ALL_PROCESSES)
_NO_RESTARTS = _Only(
    values=("0",),
    reason="hpsearch retries failed trials itself",
    advice="Write limits: {{retries: {value}}}, and remove it here.",
)
_ACCELERATOR = _Only(
    values=("no",),
    reason="the script would not receive it",
    advice="Write Accelerator({key}='{value}') in the script, and remove it here.",
)
_GPUS = "hpsearch chooses the GPUs of each trial"
_RENDEZVOUS: Mapping[str, _Meaning] = dict.fromkeys(
    ("rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf", "master_addr", "master_port", "local_addr", "role"),
    "ignored with its value",
)
_TORCH: Mapping[str, _Meaning] = {
    "nproc_per_node": "count",
    "nnodes": _ONE_MACHINE,
    "node_rank": _FIRST_MACHINE,
    "max_restarts": _NO_RESTARTS,
    "standalone": "ignored",
    "m": "module",
    "module": "module",
    **_RENDEZVOUS,
}
_TORCHRUN = _Launcher(name="torchrun", options=_TORCH, default_workers=1)
_TORCH_LAUNCH = _Launcher(
    name="torch.distributed.launch",
    options={**_TORCH, "use_env": "no local rank"},
    default_workers=1,
    local_rank="--local-rank",
)
_ACCELERATE = _Launcher(
    name="accelerate launch",
    options={
        "num_processes": "count",
        "num_machines": _ONE_MACHINE,
        "machine_rank": _FIRST_MACHINE,
        "max_restarts": _NO_RESTARTS,
        "mixed_precision": _ACCELERATOR,
        "dynamo_backend": _ACCELERATOR,
        "gpu_ids": _Only(values=("all",), reason=_GPUS, advice="Remove it."),
        "cpu": "cpu",
        "multi_gpu": "ignored",
        "same_network": "ignored",
        "main_process_ip": "ignored with its value",
        "main_process_port": "ignored with its value",
        "rdzv_backend": "ignored with its value",
        "m": "module",
        "module": "module",
    },
    default_workers=None,
)
_DEEPSPEED = _Launcher(
    name="deepspeed",
    options={
        "num_gpus": "count",
        "num_nodes": _ONE_MACHINE,
        "include": _Only(values=(), reason=_GPUS, advice="Write --num_gpus and how many."),
        "no_local_rank": "no local rank",
        "master_addr": "ignored with its value",
        "master_port": "ignored with its value",
        "module": "module",
    },
    default_workers=None,
    local_rank="--local_rank",
)
_STARTS: Mapping[tuple[str, ...], _Launcher] = {
    ("torchrun",): _TORCHRUN,
    ("-m", "torch.distributed.run"): replace(_TORCHRUN, name="torch.distributed.run"),
    ("-m", "torch.distributed.launch"): _TORCH_LAUNCH,
    ("accelerate", "launch"): _ACCELERATE,
    ("accelerate-launch",): _ACCELERATE,
    ("-m", "accelerate.commands.launch"): _ACCELERATE,
    ("deepspeed",): _DEEPSPEED,
}
"""First texts of a command after `python` to the launcher that they start."""


class _CannotTranslateError(ValueError):
    """An option that can't be translated; the message says what to write instead."""


def read_launch(texts: Sequence[str]) -> Launch | str | None:
    """Read the launcher at the beginning of a command.

    Args:
        texts: The command from the launcher on, without `python` before it.

    Returns:
        None if there is no launcher; the message of a problem if an option can't be translated.

    Example:
        >>> read_launch(["torchrun", "--nproc_per_node=2", "train.py", "--fast"])
        Launch(name='torchrun', workers=2, is_on_cpu=False, command=('train.py', '--fast'), arguments=())
    """
    for start, launcher in _STARTS.items():
        if tuple(PurePosixPath(text).name for text in texts[: len(start)]) == start:
            try:
                return _read(launcher, list(texts[len(start) :]))
            except _CannotTranslateError as error:
                return str(error)
    return None


def _read(launcher: _Launcher, rest: list[str]) -> Launch:
    """Read the options of a launcher, and remove them from the beginning of `rest`."""
    found: dict[_Meaning, int] = {}
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        meaning = launcher.options.get(_key(option))
        has_value = isinstance(meaning, _Only) or meaning in ("count", "ignored with its value")
        if meaning is None or (equals and not has_value):
            raise _unknown(launcher, option)
        if has_value and not equals:
            if not rest:
                raise _CannotTranslateError(f"{launcher.name} {option}: the value is missing. {_example(option)}")
            value = rest.pop(0)
        if isinstance(meaning, _Only):
            _check(meaning, launcher, option, value)
        else:
            found[meaning] = _workers(launcher, option, value) if meaning == "count" else 0
    workers = found.get("count", launcher.default_workers)
    if workers is None:
        option = next(f"--{key}" for key, meaning in launcher.options.items() if meaning == "count")
        message = f"{launcher.name}: the number of processes is missing. {_example(option)}"
        raise _CannotTranslateError(message)
    gives_rank = launcher.local_rank is not None and "no local rank" not in found
    return Launch(
        name=launcher.name,
        workers=workers,
        is_on_cpu="cpu" in found,
        command=("-m", *rest) if "module" in found else tuple(rest),
        arguments=(f"{launcher.local_rank}=${{envvar:LOCAL_RANK}}",) if gives_rank else (),
    )


def _check(only: _Only, launcher: _Launcher, option: str, value: str) -> None:
    if value not in only.values:
        advice = only.advice.format(name=launcher.name, key=_key(option), value=value)
        raise _CannotTranslateError(f"{launcher.name} {option}: {only.reason}, got '{value:.60}'. {advice}")


def _workers(launcher: _Launcher, option: str, value: str) -> int:
    if value.isascii() and value.isdigit() and 0 < len(value) < 10 and int(value):
        return int(value)
    expected = f"expected a whole number above 0, got '{value:.60}'"
    raise _CannotTranslateError(f"{launcher.name} {option}: {expected}. {_example(option)}")


def _unknown(launcher: _Launcher, option: str) -> _CannotTranslateError:
    dash = "-" if "-" in option.lstrip("-") else "_"
    near = did_you_mean(option, [f"--{key.replace('_', dash)}" for key in launcher.options])
    instead = f"Remove it, or write resources: {{workers: 2}} instead of {launcher.name}."
    return _CannotTranslateError(f"{launcher.name} {option:.60}: the option can't be translated.{near} {instead}")


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _example(option: str) -> str:
    return f"Write for example {option}=2."
