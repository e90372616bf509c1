"""The command line of a script: arguments in which macros such as `${args}` are replaced by the parameters.

Reading the `command` of a W&B sweep is in `spec/dialects/command.py`; running the script is in `script.py`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsearch.errors import did_you_mean

DEFAULT = ("${args}",)
"""The arguments if the spec gives none: `--name=value` for every parameter."""

MACROS = (
    "args",
    "args_no_hyphens",
    "args_no_boolean_flags",
    "args_no_equals",
    "args_append_hydra",
    "args_override_hydra",
    "args_json",
    "args_json_file",
)
"""W&B's macros that are replaced by parameters."""

LIST_MACROS = {"args_list": "args", "args_list_no_boolean_flags": "args_no_boolean_flags"}
"""Our macros for `nargs="+"`, to those of W&B that they equal where no value is a list."""

KNOWN = (*MACROS, *LIST_MACROS)
"""All macros that are replaced by parameters."""

UNSET = {"LOCAL_RANK": "0"}
"""Values of `${envvar:NAME}` for variables that are not set. Without a launcher, a process has local rank 0."""

_MACRO = re.compile(r"\$\{([A-Za-z_]+)(?::([^}]*))?\}")


def unknown_macro(arguments: Sequence[str]) -> str | None:
    """A message about the first unknown macro, without its full stop; None if all are known.

    Only whole arguments are checked: `${...}` within a longer one may be meant for the script, such as Hydra's
    `run.dir=out/${now:%H-%M}`.
    """
    for name, argument in (found.groups() for text in arguments if (found := _MACRO.fullmatch(text))):
        if name not in KNOWN and not (name == "envvar" and argument):
            return f"unknown macro '${{{name}}}'.{did_you_mean(name, KNOWN)} Known: {', '.join(KNOWN)}, envvar:NAME"
    return None


def command_line(config: Mapping[str, Any], arguments: Sequence[str] = DEFAULT) -> list[str]:
    """The arguments of a script for one configuration.

    Args:
        config: The nested dicts that a trainable gets; names on the command line are dotted.
        arguments: Texts, some of them macros; `${envvar:NAME}` is also replaced within a longer text.

    Example:
        >>> command_line({"lr": 0.1, "model": {"wide": True}}, ["--data=x", "${args_no_boolean_flags}"])
        ['--data=x', '--lr=0.1', '--model.wide']
    """
    flat = dict(flat_values(config))
    result: list[str] = []
    for text in arguments:
        macro = _MACRO.fullmatch(text)
        if macro and macro[1] in KNOWN:
            result += _expanded(macro[1], flat, config)
        else:
            result.append(_MACRO.sub(_variable, text))
    return result


def _expanded(macro: str, flat: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    if macro in LIST_MACROS:
        return [word for each in flat.items() for word in _with_list(*each, otherwise=LIST_MACROS[macro])]
    if macro == "args_json":
        return [json.dumps(config)]
    if macro == "args_json_file":
        return [_json_file(config)]
    if macro == "args_no_equals":
        return [each for name, value in flat.items() for each in (f"--{name}", _text(value))]
    if macro == "args_no_boolean_flags":
        kept = {name: value for name, value in flat.items() if value is not False}
        return [f"--{name}" if value is True else f"--{name}={_text(value)}" for name, value in kept.items()]
    prefix = {"args": "--", "args_append_hydra": "+", "args_override_hydra": "++"}.get(macro, "")
    return [f"{prefix}{name}={_text(value)}" for name, value in flat.items()]


def _with_list(name: str, value: Any, *, otherwise: str) -> list[str]:
    """The words of one parameter: its name and each value of a list, or those of another macro."""
    if isinstance(value, list | tuple):
        return [f"--{name}", *map(_text, value)]
    return _expanded(otherwise, {name: value}, {})


def _variable(found: re.Match[str]) -> str:
    """The value of `${envvar:NAME}`, or that of `UNSET`, or NAME itself; any other macro is left as it is."""
    name = found[2]
    return os.environ.get(name, UNSET.get(name, name)) if found[1] == "envvar" and name else found[0]


def _json_file(config: Mapping[str, Any]) -> str:
    text = json.dumps(config)
    with tempfile.NamedTemporaryFile("w", prefix="hpsearch-", suffix=".json", delete=False) as file:
        file.write(text)
    return str(Path(file.name))


def flat_values(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of each parameter of a nested configuration."""
    found: list[tuple[str, Any]] = []
    for name, value in config.items():
        nests = isinstance(value, Mapping) and value
        found += flat_values(value, f"{prefix}{name}.") if nests else [(prefix + name, value)]
    return found


def _text(value: Any) -> str:
    """A value as Python writes it, which `ast.literal_eval`, `int` and `float` can read."""
    return value if isinstance(value, str) else repr(value)
