"""Translates the `command` of a W&B sweep into a script, its arguments, and the number of its processes.

hpsearch runs the script in processes that it starts itself, so the interpreter in a `command` has no effect. Launchers,
which set the number of processes, are read in `launcher.py`. Macros such as `${args}` stay in the arguments: they are
replaced for each trial in `trainable/arguments.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpsearch.spec.dialects.launcher import Launch, read_launch
from hpsearch.trainable.arguments import unknown_macro

STARTERS = frozenset({"${env}", "${interpreter}", "env", "/usr/bin/env", "python", "python3", "-u"})
"""Texts before the script that have no effect."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A translated `command`."""

    script: object
    """The program, as the spec or the command names it; None if neither does."""
    arguments: list[str]
    """Arguments of the script, some of them macros."""
    launch: Launch | None
    """The launcher that runs the script; None without one."""


def script_and_arguments(command: object, *, program: object) -> Command | str:
    """Translate a `command`.

    Args:
        command: The value of a W&B sweep file.
        program: The script that the file names. The command may name it too, as a path or as `-m` and a module. If it
            names another one, that one runs.

    Returns:
        The message of a problem, with its full stop, if the command can't be translated.
    """
    if not isinstance(command, list) or not all(isinstance(each, str | int | float) for each in command):
        return "expected a list of texts. Write for example [python, ${program}, ${args}]."
    texts = [str(each) for each in command]
    first = next((i for i, text in enumerate(texts) if text not in STARTERS), len(texts))
    if first < len(texts) and texts[first] != program and _is_several_words(texts[first]):
        items = ", ".join(texts[first].split())
        return f"'{texts[first]:.60}' is one item, and an item is one word of the command. Write [{items:.80}, ...]."
    launch = read_launch(texts[first:])
    if isinstance(launch, str):
        return launch
    if launch is not None:
        texts = list(launch.command)
    position = _position_of_script(texts, program)
    if position is None:
        return "expected a command that runs the program. Write ${program} in place of the script's name."
    before, after = texts[:position], texts[position + 1 :]
    script = program if texts[position] == "${program}" else texts[position]
    if before[-1:] == ["-m"]:
        script = f"{str(script).replace('.', '/')}.py"
        before = before[:-1]
    if foreign := [text for text in before if text not in STARTERS]:
        hint = "for several processes, write resources: {workers: 2}"
        return f"'{foreign[0]}' can't start the script, which hpsearch starts itself. Remove it; {hint}."
    if wrong := unknown_macro(after):
        return f"{wrong}."
    return Command(script=script, arguments=[*(launch.arguments if launch else ()), *after], launch=launch)


def _is_several_words(text: str) -> bool:
    """Whether the item that starts or is the script has several words; the name of a script may contain blanks."""
    words = text.split()
    return len(words) > 1 and (words[0] in STARTERS or not text.endswith(".py"))


def _position_of_script(texts: Sequence[str], program: object) -> int | None:
    """Position of the program; else of the first text after the starters, if it is a script or a module."""
    named = [i for i, text in enumerate(texts) if text in ("${program}", program)]
    first = next((i for i, text in enumerate(texts) if text not in STARTERS), None)
    if named or first is None:
        return named[0] if named else None
    if texts[first] == "-m":
        return first + 1 if len(texts) > first + 1 else None
    return first if texts[first].endswith(".py") else None
