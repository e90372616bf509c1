"""Makes a checked `Sweep` from a YAML file and the overrides of the command line.

Here a spec's file is found and read, overrides (`--set KEY=VALUE`) are applied, and each problem gets the file and line
of the mistake, or the `--set` that contains it. The other modules of this folder open no file: YAML's syntax is in
`yaml_reader.py` and `yaml_writer.py`, the checks are in `sweep.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpsearch.errors import Problem, SpecError, did_you_mean
from hpsearch.paths import ledger_path, resolved_spec_path
from hpsearch.plain import MAX_DEPTH, NAME_PATTERN, KeyPath
from hpsearch.spec.checks import not_a_map
from hpsearch.spec.dialects.parameters import nested_parameters
from hpsearch.spec.dialects.translate import other_spellings
from hpsearch.spec.sweep import Sweep, check_spec
from hpsearch.spec.yaml_reader import LocatedValue, Location, read_yaml
from hpsearch.spec.yaml_writer import dump_yaml
from hpsearch.text import shown
from hpsearch.trainable.arguments import DEFAULT
from hpsearch.trainable.definitions import trainable_error
from hpsearch.trainable.locate import TrainableSource, locate

__all__ = ["dump_yaml", "find_spec", "is_key", "load_sweep", "read_override", "spec_dir_of", "trainable_of"]

MAX_BYTES = 128 * 1024
"""Largest spec. A malicious file of this size is refused within 0.3 s; one of a megabyte would take 17 s."""
MAX_PROBLEMS = 100
"""Most problems that one error lists; a file with more is probably not a spec."""
SPEC_FOLDER = "search_spaces"
"""Folder in which a spec is found by its name alone."""
SUFFIXES = (".yaml", ".yml")
"""Suffixes of spec files."""


def find_spec(spec: str) -> Path:
    """The file of a spec that the user gives by its path or by its name.

    A path comes first. Else a file of that name, with or without `.yaml`, is looked for in the folder `search_spaces`
    of the working directory, then in that of the checkout that contains this package.

    Raises:
        SpecError: There is no such file; the message lists the paths that were tried and the specs that exist.
    """
    asked = Path(spec)
    folders = [Path(SPEC_FOLDER), Path(__file__).parents[2] / SPEC_FOLDER]
    names = [asked.name] if asked.suffix in SUFFIXES else [asked.name, f"{asked.name}.yaml"]
    candidates = [asked, *(folder / name for folder in folders for name in names if asked.name)]
    for path in candidates:
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a name is too long
            return path
    raise SpecError(_not_found(spec, candidates, folders))


def load_sweep(path: str | Path, *, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> Sweep:
    """Read and check a spec, and find its trainable without importing it.

    Args:
        path: The file; messages show the path as it is written here.
        overrides: Texts `KEY=VALUE`, with a dotted KEY and VALUE in YAML. Each replaces a key of the file or adds one;
            of two for the same key, the later one applies.
        values: Overrides as values instead of text: a tree in hpsearch's keys, merged into the spec by `merge_spec`.

    Returns:
        A sweep that has a name: the file's name without its suffix if the spec sets none. A name of None in `values`
        leaves it without one.

    Raises:
        SpecError: With every mistake in the file and the overrides, at most MAX_PROBLEMS of them.
    """
    path = Path(path)
    problems: list[Problem] = []
    notes: list[Problem] = []
    spec = read_yaml(_read_text(path), file=str(path), problems=problems, notes=notes)
    if spec is not None and not isinstance(spec.value, dict):
        problems.append(Problem(where=(), message=not_a_map(spec.value), file=str(path), line=spec.location.line))
    if spec is None or not isinstance(spec.value, dict):
        raise SpecError(problems)
    for override in overrides:
        spec = _overridden(spec, override, problems, notes)
    sweep = _check(spec, path, values or {}, problems, notes)
    if problems or sweep is None:
        raise SpecError(_at_most(_in_order(problems, path), MAX_PROBLEMS))
    return sweep


def _in_order(problems: Iterable[Problem], path: Path) -> list[Problem]:
    """Those in the file by line, then the others."""
    return sorted(problems, key=lambda problem: (problem.file != str(path), problem.line or 0))


def _not_found(spec: str, candidates: Sequence[Path], folders: Sequence[Path]) -> str:
    there = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    looked = " nor ".join(dict.fromkeys(str(path) for path in candidates))
    listed = f" There are: {', '.join(there)}." if there else ""
    return f"there is no file {looked}.{did_you_mean(Path(spec).stem, there)}{listed}"


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = f"the file can't be read: {error.strerror}."
        raise SpecError([Problem(where=(), message=reason, file=str(path))]) from error
    if len(content) > MAX_BYTES:
        reason = f"expected a file of at most {MAX_BYTES // 1024} KiB, got a larger one. Is it a spec?"
        raise SpecError([Problem(where=(), message=reason, file=str(path), line=1)])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"expected UTF-8 text, got the byte 0x{content[error.start]:02x}. Save the file as UTF-8."
        raise SpecError([Problem(where=(), message=reason, file=str(path), line=line)]) from error


def _check(
    spec: LocatedValue, path: Path, values: Mapping[str, Any], problems: list[Problem], notes: Iterable[Problem]
) -> Sweep | None:
    """The sweep with its notes and those of reading that concern a value that is not overridden.

    Mistakes in the spec, its name and its trainable are added to `problems` with their locations.
    """
    loaded = check_spec(spec.value, overrides=values)
    sweep, found = loaded.sweep, list(loaded.problems)
    try:
        trainable = loaded.translation.tree.get("trainable")
        if isinstance(trainable, str):
            locate(trainable, spec_dir=spec_dir_of(path))
    except SpecError as error:
        found += (replace(each, where=loaded.translation.written(each.where)) for each in error.problems)
    if "name" not in values and loaded.written.get("name") is None:
        found += _check_stem(path.stem)
        sweep = sweep and sweep.with_values(name=path.stem)

    def located(problem: Problem) -> Problem:
        is_overridden = loaded.is_overridden(problem.where)
        return problem if is_overridden else _located(problem, spec.location_of(problem.where))

    problems += map(located, found)
    if sweep is None:
        return None
    current = [note for note in notes if located(note) == note and not loaded.is_overridden(note.where)]
    return sweep.with_surprises(tuple(_in_order(dict.fromkeys([*map(located, sweep.surprises), *current]), path)))


def _check_stem(stem: str) -> list[Problem]:
    if NAME_PATTERN.fullmatch(stem):
        return []
    message = f"the file's name {shown(stem)} can't be the name of a sweep. Write for example name: resnet."
    return [Problem(where=("name",), message=message)]


def _located(problem: Problem, location: Location) -> Problem:
    return problem.at(file=location.file, line=location.line)


def _at_most(problems: list[Problem], count: int) -> list[Problem]:
    if len(problems) <= count:
        return problems
    return [*problems[:count], Problem(where=(), message=f"and {len(problems) - count} more mistakes.")]


def is_key(name: str) -> bool:
    """Whether NAME in an override `NAME=VALUE` is a key of the spec, in any spelling, as opposed to a parameter."""
    first = name.strip().partition(".")[0]
    ours = {field.alias or key for key, field in Sweep.model_fields.items()} - {"parameters"}
    return first in ours or bool(other_spellings((first,)))


def read_override(
    override: str, problems: list[Problem], notes: list[Problem] | None = None
) -> tuple[tuple[str, ...], LocatedValue] | None:
    """(keys, value) of one override `KEY=VALUE`; None after a mistake, which is added to `problems`."""
    argument = f"--set {override if len(override) <= 80 else override[:77] + '...'}"
    key, equals, text = override.partition("=")
    where = tuple(key.strip().split("."))
    if not equals or not all(where) or not text.strip() or len(where) >= MAX_DEPTH:
        message = "expected KEY=VALUE. Write for example --set limits.trials=12, or KEY=null to remove a value."
        problems.append(Problem(where=(), message=message, file=argument))
        return None
    if len(override) > MAX_BYTES:
        problems.append(
            Problem(
                where=where,
                message=f"expected at most {MAX_BYTES // 1024} KiB, got more. Write it into the file.",
                file=argument,
            )
        )
        return None
    value = read_yaml(text, file=argument, problems=problems, where=where, numbered=False, notes=notes)
    return None if value is None else (where, value)


def _overridden(spec: LocatedValue, override: str, problems: list[Problem], notes: list[Problem]) -> LocatedValue:
    """The spec with one override `KEY=VALUE` applied; unchanged after a mistake."""
    found = read_override(override, problems, notes)
    if found is None:
        return spec
    key, value = found
    where = _as_written(spec.value, key)
    for other in other_spellings(where):
        spec = _without(spec, other)
    return _put(spec, where, value, problems)


def _as_written(tree: Any, where: KeyPath) -> KeyPath:
    """The keys under which the file has a parameter: W&B's files may nest by `parameters` or use dotted names."""
    if where[:1] != ("parameters",):
        return where
    found, rest = where[:1], list(where[1:])
    level = tree.get("parameters")
    while rest and isinstance(level, Mapping):
        names = (".".join(map(str, rest[:length])) for length in range(len(rest), 0, -1))
        if name := next((name for name in names if name in level), None):
            found, level, rest = (*found, name), level[name], rest[name.count(".") + 1 :]
        elif len(found) > 1 and nested_parameters(level) is not None:
            found, level = (*found, "parameters"), level["parameters"]
        else:
            break
    return (*found, *rest)


def _without(spec: LocatedValue, where: KeyPath) -> LocatedValue:
    """A copy of `spec` without the value at `where`, if there is one."""
    key = where[0]
    if key not in spec.inner or not isinstance(spec.value, dict):
        return spec
    value, inner = dict(spec.value), dict(spec.inner)
    if len(where) == 1:
        del value[key], inner[key]
    else:
        inner[key] = _without(inner[key], where[1:])
        value[key] = inner[key].value
    return replace(spec, value=value, inner=inner)


def _put(
    spec: LocatedValue, where: KeyPath, value: LocatedValue, problems: list[Problem], depth: int = 0
) -> LocatedValue:
    """A copy of `spec` with `value` at `where`; missing maps on the way are created."""
    if depth == len(where):
        return value
    if not isinstance(spec.value, dict):
        outer = ".".join(str(key) for key in where[:depth])
        message = f"expected a map at {outer}, got {shown(spec.value)}. Set {outer} itself."
        problems.append(_located(Problem(where=where, message=message), value.location))
        return spec
    key = where[depth]
    before = spec.inner.get(key, LocatedValue(value={}, location=value.location))
    part = _put(before, where, value, problems, depth + 1)
    return replace(spec, value={**spec.value, key: part.value}, inner={**spec.inner, key: part})


def spec_dir_of(path: Path) -> Path | None:
    """The folder in which files that a spec names are looked for, besides the working directory.

    Args:
        path: The spec's file.

    Returns:
        The file's folder; None for the `sweep.yaml` in a sweep's folder, since no code is looked for among sweeps.
    """
    folder = path.absolute().parent
    is_of_a_sweep = path.absolute() == resolved_spec_path(folder) and ledger_path(folder.parent).exists()
    return None if is_of_a_sweep else path.parent


def trainable_of(sweep: Sweep, *, spec_dir: Path | None) -> TrainableSource:
    """The trainable that a sweep names, found by `locate`.

    Args:
        sweep: A sweep from a spec.
        spec_dir: Folder of the spec's file; None if it is not a file.

    Raises:
        SpecError: The sweep names no trainable, or one that does not exist.
    """
    if sweep.trainable is None:
        raise trainable_error("'trainable' is missing. Write trainable: module:function.")
    arguments = DEFAULT if sweep.arguments is None else sweep.arguments
    return locate(sweep.trainable, spec_dir=spec_dir, arguments=arguments)
