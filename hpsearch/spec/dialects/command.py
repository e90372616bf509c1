"""A script's command line: what a W&B sweep's `command` means here, and the arguments that a trial gives its script.

The script runs in a process of the sweep, so what a `command` says of interpreters is done. What is left is how many
processes a launcher would start (`launcher.py`), and the list of arguments, in which `${args}` and its
relatives stand for the parameters.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsearch.spec.dialects.launcher import Launch, read_launch

DEFAULT = ("${args}",)
"""`--name=value` for every parameter."""
STARTERS = frozenset({"${env}", "${interpreter}", "env", "/usr/bin/env", "python", "python3", "-u"})
"""Words before the script that say what happens anyway."""
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


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a `command` does."""

    script: object
    """The program that it runs, as the file or the command names it."""
    arguments: list[str]
    """Words and macros that it passes to the script."""
    launch: Launch | None
    """The launcher that it runs the script by; None for one process."""


def script_and_arguments(command: object, *, program: object) -> Command | str:
    """The script that a `command` runs and what it passes to it; a sentence where that can't be said.

    Args:
        command: The list of a W&B sweep file.
        program: The script that the file names; the command may name it itself, as a path or as `-m` and a module, or
            name another one, which is what runs.
    """
    if not isinstance(command, list) or not all(isinstance(word, str | int | float) for word in command):
        return "expected a list of words. Write for example [python, ${program}, ${args}]."
    words = [str(word) for word in command]
    first = next((i for i, word in enumerate(words) if word not in STARTERS), len(words))
    launch = read_launch(words[first:])
    if isinstance(launch, str):
        return launch
    if launch is not None:
        words = list(launch.command)
    place = _place_of_script(words, program)
    if place is None:
        return "it doesn't run the program. Write ${program} where the script's name belongs."
    before, after = words[:place], words[place + 1 :]
    script = program if words[place] == "${program}" else words[place]
    if before[-1:] == ["-m"]:
        script = f"{str(script).replace('.', '/')}.py"
        before = before[:-1]
    if foreign := [word for word in before if word not in STARTERS]:
        hint = "for several processes, write resources: {workers: 2}"
        return f"'{foreign[0]}' can't start the script, which runs in a process of the sweep. Remove it; {hint}."
    if wrong := wrong_macros(after):
        return f"{wrong}."
    return Command(script=script, arguments=[*(launch.arguments if launch else ()), *after], launch=launch)


def _place_of_script(words: Sequence[str], program: object) -> int | None:
    """Where the program stands; else the first word after the starters, if it is a script or a module to run."""
    named = [i for i, word in enumerate(words) if word in ("${program}", program)]
    first = next((i for i, word in enumerate(words) if word not in STARTERS), None)
    if named or first is None:
        return named[0] if named else None
    if words[first] == "-m":
        return first + 1 if len(words) > first + 1 else None
    return first if words[first].endswith(".py") else None


def wrong_macros(arguments: Sequence[str]) -> str | None:
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
