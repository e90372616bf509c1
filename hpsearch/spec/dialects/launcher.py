"""Launchers in a W&B sweep's `command`, such as `torchrun --nproc_per_node=2`: how many processes run the script.

A sweep starts the processes of a trial itself and lets them meet, so options that say nothing else are passed over. An
option that says more is a mistake: a trial must not train otherwise than its command says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from hpsearch.errors import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a launcher says of the processes of a trial."""

    name: str
    """As messages call it."""
    workers: int
    """Processes that run the script, each a rank."""
    is_on_cpu: bool
    """Whether they shall leave the GPUs alone."""
    command: tuple[str, ...]
    """What it runs, as it would follow `python`: `-m` before a module, then the script and its arguments."""
    arguments: tuple[str, ...]
    """What it gives the script before the script's own arguments."""


@dataclass(frozen=True, kw_only=True)
class _Only:
    """An option that changes nothing with some values, and can't be carried over with others."""

    values: tuple[str, ...]
    """The former."""
    reason: str
    """Why not with the others."""
    advice: str
    """What to write; `{name}` is the launcher, `{key}` the option and `{value}` its value."""


_Meaning = Literal["passed over", "passed over with its value", "count", "module", "cpu", "no local rank"] | _Only
"""What an option says; only `count`, `_Only` and those that are passed over with it have a value."""


@dataclass(frozen=True, kw_only=True)
class _Launcher:
    """How one launcher is spoken to."""

    name: str
    """As messages call it."""
    options: Mapping[str, _Meaning]
    """By name, without the dashes before it and with underscores for those within."""
    default_workers: int | None
    """Processes where the command doesn't say; None where the launcher finds out by itself."""
    local_rank: str | None = None
    """Option by which it gives the script its local rank."""


_MACHINES = "a command starts the processes of one machine"
_ALL_PROCESSES = "Write resources: {{workers: N}} with the number of all processes, instead of {name}."
_ONE_MACHINE = _Only(values=("1", "1:1"), reason=_MACHINES, advice=_ALL_PROCESSES)
_FIRST_MACHINE = _Only(values=("0",), reason=_MACHINES, advice=_ALL_PROCESSES)
_NO_RESTARTS = _Only(
    values=("0",),
    reason="a sweep tries a failed trial again by itself",
    advice="Write limits: {{retries: {value}}}, and remove it here.",
)
_ACCELERATOR = _Only(
    values=("no",),
    reason="the script is not told of it",
    advice="Write Accelerator({key}='{value}') in the script, and remove it here.",
)
_GPUS = "a sweep chooses the GPUs of each trial"
_MEETING: Mapping[str, _Meaning] = dict.fromkeys(
    ("rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf", "master_addr", "master_port", "local_addr", "role"),
    "passed over with its value",
)
_TORCH: Mapping[str, _Meaning] = {
    "nproc_per_node": "count",
    "nnodes": _ONE_MACHINE,
    "node_rank": _FIRST_MACHINE,
    "max_restarts": _NO_RESTARTS,
    "standalone": "passed over",
    "m": "module",
    "module": "module",
    **_MEETING,
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
        "multi_gpu": "passed over",
        "same_network": "passed over",
        "main_process_ip": "passed over with its value",
        "main_process_port": "passed over with its value",
        "rdzv_backend": "passed over with its value",
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
        "master_addr": "passed over with its value",
        "master_port": "passed over with its value",
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
"""First words of a command, `python` aside, to the launcher that they start."""


class _CannotTranslateError(ValueError):
    """A sentence on what can't be carried over, and what to write."""


def read_launch(words: Sequence[str]) -> Launch | str | None:
    """What the launcher at the front of a command says; a sentence where that can't be carried over, None without one.

    Args:
        words: The command, without `python` and its like before the launcher.

    Example:
        >>> read_launch(["torchrun", "--nproc_per_node=2", "train.py", "--fast"])
        Launch(name='torchrun', workers=2, is_on_cpu=False, command=('train.py', '--fast'), arguments=())
    """
    for start, launcher in _STARTS.items():
        if tuple(PurePosixPath(word).name for word in words[: len(start)]) == start:
            try:
                return _read(launcher, list(words[len(start) :]))
            except _CannotTranslateError as error:
                return str(error)
    return None


def _read(launcher: _Launcher, rest: list[str]) -> Launch:
    """Take the options of a launcher off the front of `rest`."""
    said: dict[_Meaning, int] = {}
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        meaning = launcher.options.get(_key(option))
        has_value = isinstance(meaning, _Only) or meaning in ("count", "passed over with its value")
        if meaning is None or (equals and not has_value):
            raise _unknown(launcher, option)
        if has_value and not equals:
            if not rest:
                raise _CannotTranslateError(f"{launcher.name} {option}: its value is missing. {_example(option)}")
            value = rest.pop(0)
        if isinstance(meaning, _Only):
            _check(meaning, launcher, option, value)
        else:
            said[meaning] = _workers(launcher, option, value) if meaning == "count" else 0
    workers = said.get("count", launcher.default_workers)
    if workers is None:
        option = next(f"--{key}" for key, meaning in launcher.options.items() if meaning == "count")
        message = f"{launcher.name} doesn't say how many processes it starts. {_example(option)}"
        raise _CannotTranslateError(message)
    gives_rank = launcher.local_rank is not None and "no local rank" not in said
    return Launch(
        name=launcher.name,
        workers=workers,
        is_on_cpu="cpu" in said,
        command=("-m", *rest) if "module" in said else tuple(rest),
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
    return _CannotTranslateError(f"{launcher.name} {option:.60}: the option can't be carried over.{near} {instead}")


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _example(option: str) -> str:
    return f"Write for example {option}=2."
