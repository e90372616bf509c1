"""The command line that a trial gives its script: words, and macros such as `${args}` that stand for the parameters."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEFAULT = ("${args}",)
"""`--name=value` for every parameter."""


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


UNSET = {"LOCAL_RANK": "0"}
"""What `${envvar:NAME}` is where there is no such variable: without a launcher, a process is the first one."""


_MACRO = re.compile(r"\$\{([A-Za-z_]+)(?::([^}]*))?\}")


def unknown_macro(arguments: Sequence[str]) -> str | None:
    """A sentence on the first macro that nobody knows, without its full stop; None if all are known.

    Within a longer word, `${...}` is left to the script, such as Hydra's `run.dir=out/${now:%H-%M}`.
    """
    for name, argument in (found.groups() for word in arguments if (found := _MACRO.fullmatch(word))):
        if name not in MACROS and not (name == "envvar" and argument):
            return f"unknown macro '${{{name}}}'. Known: {', '.join(MACROS)}, envvar:NAME"
    return None


def command_line(config: Mapping[str, Any], arguments: Sequence[str] = DEFAULT) -> list[str]:
    """The arguments of a script for one configuration.

    Args:
        config: Nested as a trainable gets it; the names on the command line are dotted.
        arguments: Words, and macros that stand for the parameters.

    Example:
        >>> command_line({"lr": 0.1, "model": {"wide": True}}, ["--data=x", "${args_no_boolean_flags}"])
        ['--data=x', '--lr=0.1', '--model.wide']
    """
    flat = dict(_flat(config, ""))
    words: list[str] = []
    for word in arguments:
        macro = _MACRO.fullmatch(word)
        if macro and macro[1] in MACROS:
            words += _expanded(macro[1], flat, config)
        else:
            words.append(_MACRO.sub(_variable, word))
    return words


def _expanded(macro: str, flat: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    if macro == "args_json":
        return [json.dumps(config)]
    if macro == "args_json_file":
        return [_json_file(config)]
    if macro == "args_no_equals":
        return [word for name, value in flat.items() for word in (f"--{name}", _word(value))]
    if macro == "args_no_boolean_flags":
        kept = {name: value for name, value in flat.items() if value is not False}
        return [f"--{name}" if value is True else f"--{name}={_word(value)}" for name, value in kept.items()]
    prefix = {"args": "--", "args_append_hydra": "+", "args_override_hydra": "++"}.get(macro, "")
    return [f"{prefix}{name}={_word(value)}" for name, value in flat.items()]


def _variable(found: re.Match[str]) -> str:
    """`${envvar:NAME}`'s value; where there is none what `UNSET` says, else NAME. Any other macro as it is."""
    name = found[2]
    return os.environ.get(name, UNSET.get(name, name)) if found[1] == "envvar" and name else found[0]


def _json_file(config: Mapping[str, Any]) -> str:
    text = json.dumps(config)
    with tempfile.NamedTemporaryFile("w", prefix="hpsearch-", suffix=".json", delete=False) as file:
        file.write(text)
    return str(Path(file.name))


def _flat(config: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in config.items():
        nests = isinstance(value, Mapping) and value
        found += _flat(value, f"{prefix}{name}.") if nests else [(prefix + name, value)]
    return found


def _word(value: Any) -> str:
    """As Python writes it, which is what `ast.literal_eval`, `int` and `float` read."""
    return value if isinstance(value, str) else repr(value)
