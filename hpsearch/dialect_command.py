"""A script's command line: what a W&B sweep's `command` means here, and the arguments that a trial gives its script.

The script runs in a process that is there already, so what a `command` says of interpreters is done, and what is left
is the list of arguments, in which `${args}` and its relatives stand for the parameters.
"""

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
_MACRO = re.compile(r"\$\{([A-Za-z_]+)(?::([^}]*))?\}")


def script_and_arguments(command: object, *, program: object) -> tuple[object, list[str]] | str:
    """The script that a `command` runs and what it passes to it; a sentence where that can't be said.

    Args:
        command: The list of a W&B sweep file.
        program: The script that the file names; the command may name it itself, as a path or as `-m` and a module, or
            name another one, which is what runs.
    """
    if not isinstance(command, list) or not all(isinstance(word, str | int | float) for word in command):
        return "expected a list of words. Write for example [python, ${program}, ${args}]."
    words = [str(word) for word in command]
    place = _place_of_script(words, program)
    if place is None:
        return "it doesn't run the program. Write ${program} where the script's name belongs."
    before, after = words[:place], words[place + 1 :]
    if before[-1:] == ["-m"]:
        script: object = f"{words[place].replace('.', '/')}.py"
        before = before[:-1]
    else:
        script = program if words[place] == "${program}" else words[place]
    if foreign := [word for word in before if word not in STARTERS]:
        hint = "for several processes, write resources: {workers: 2}"
        return f"'{foreign[0]}' can't start the script, which runs in a process of the sweep. Remove it; {hint}."
    if wrong := wrong_macros(after):
        return f"{wrong}."
    return script, after


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
    """`${envvar:NAME}`'s value; NAME where there is none, and any other macro as it is."""
    return os.environ.get(found[2], found[2]) if found[1] == "envvar" and found[2] else found[0]


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
