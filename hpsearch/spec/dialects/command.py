"""A script's command line: what a W&B sweep's `command` means here, and the arguments that a trial gives its script.

The script runs in a process of the sweep, so what a `command` says of interpreters is done. What is left is how many
processes a launcher would start (`launcher.py`), and the list of arguments, in which `${args}` and its
relatives stand for the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.spec.dialects.launcher import Launch, read_launch
from hpsearch.trainable.arguments import unknown_macro

STARTERS = frozenset({"${env}", "${interpreter}", "env", "/usr/bin/env", "python", "python3", "-u"})
"""Words before the script that say what happens anyway."""


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
    if wrong := unknown_macro(after):
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
