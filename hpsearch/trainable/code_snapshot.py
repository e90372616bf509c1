"""Writes the snapshot of the user's code when a sweep starts; all its trials import from the snapshot.

`code_files.py` reads the code. `code_finder.py` imports from the snapshot and describes the files in its folder.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.errors import Problem, SpecError
from hpsearch.links import IN_SWEEP, make_folder
from hpsearch.paths import snapshots_dir
from hpsearch.trainable import code_finder

if TYPE_CHECKING:  # trial processes, which only call child_environment, need not load code_files
    from hpsearch.trainable.code_files import CodeFiles

MAX_BYTES = 64 * 2**20
"""Largest total size of the source files; the code of a large project has a few MiB."""
SITECUSTOMIZE = f'''\
"""Lets interpreters that a trial starts import the code that its sweep began with. Written by hpsearch."""

import os

import {code_finder.MODULE_IN_SITE}

{code_finder.MODULE_IN_SITE}.start_interpreter(os.path.dirname(os.path.abspath(__file__)))
'''


def check_size(code: CodeFiles) -> None:
    """Check that the code is small enough to be copied for each sweep.

    Raises:
        SpecError: The files have more than MAX_BYTES in all; the message names the largest.
    """
    sizes = {path: len(content) for path, content in code.contents.items() if content is not None}
    if sum(sizes.values()) <= MAX_BYTES:
        return
    largest = max(sizes, key=lambda path: sizes[path])
    message = (
        f"expected code of at most {MAX_BYTES / 2**20:.0f} MiB, since the sweep keeps a copy, got"
        f" {sum(sizes.values()) / 2**20:.0f} MiB. The largest file is {largest} ({sizes[largest] / 2**20:.0f} MiB)."
        " Keep data in files that are read, not imported."
    )
    raise SpecError([Problem(where=("trainable",), message=message)])


def snapshot(folder: Path, code: CodeFiles, *, name: str) -> Path:
    """Write a snapshot into a sweep's folder, unless the same files, and no others, are there.

    A file more could be someone else's code, since interpreters that a trial starts import from the folder. The files
    are written from the bytes that were hashed and are not hard links, since an editor that writes in place would
    change those. The folder appears in one step; one with other content is replaced.

    Args:
        folder: The sweep's folder.
        code: The files to copy; `check_size` accepts them.
        name: Name of the snapshot's folder, a prefix of the code's hash.

    Returns:
        The snapshot's folder, absolute.

    Raises:
        LinkRefused: The sweep's folder, or `code` in it, is a link.
        OSError: The folder can't be written.
    """
    target = snapshots_dir(folder.parent.resolve() / folder.name) / name
    files = _files_of(code)
    if _is_whole(target, files):
        return target
    make_folder(target.parent, parts=IN_SWEEP)
    beside = Path(tempfile.mkdtemp(prefix=f".{name}.new-", dir=target.parent))
    try:
        for relative, content in files.items():
            path = beside / "new" / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if os.path.lexists(target):
            target.rename(beside / "old")
        (beside / "new").rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def child_environment(
    code_dir: str | Path,
    environ: Mapping[str, str],
    *,
    old_root: str | None = None,
    new_root: str | None = None,
) -> dict[str, str]:
    """Environment variables that make each Python started by a trial import from its sweep's snapshot.

    Args:
        code_dir: The snapshot's folder.
        environ: The trial's environment variables.
        old_root: See `code_finder.install`.
        new_root: See `code_finder.install`.

    Returns:
        The variables to set: PYTHONPATH, which begins with the snapshot's folder `site`, and one for the two roots.
    """
    site_dir = os.path.join(code_dir, code_finder.SITE)  # noqa: PTH118
    entries = environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and not (Path(entry) / f"{code_finder.MODULE_IN_SITE}.py").exists()]
    return {
        "PYTHONPATH": os.pathsep.join([site_dir, *kept]),
        code_finder.MOVED_VARIABLE: json.dumps([old_root, new_root]),
    }


def _files_of(code: CodeFiles) -> dict[str, bytes]:
    """The snapshot's files: relative path to content."""
    cwd = Path.cwd()
    copies = {path: _relative_copy(Path(path), cwd) for path, content in code.contents.items() if content is not None}
    manifest: dict[str, Any] = {
        "files": {path: {"file": copies.get(path), "sha256": digest} for path, digest in code.hashes.items()},
        "aliases": dict(code.aliases),
        "modules": dict(code.modules),
        "roots": list(code.roots),
    }
    contents = {copies[path]: content for path, content in code.contents.items() if content is not None}
    return {
        **contents,
        f"{code_finder.SITE}/sitecustomize.py": SITECUSTOMIZE.encode(),
        f"{code_finder.SITE}/{code_finder.MODULE_IN_SITE}.py": Path(code_finder.__file__).read_bytes(),
        code_finder.MANIFEST: json.dumps(manifest, indent=1).encode(),
    }


def _relative_copy(path: Path, project: Path) -> str:
    """The path of a file's copy in the snapshot, from its path in the project or else from its absolute path."""
    if path.is_relative_to(project):
        return f"project/{path.relative_to(project)}"
    return f"elsewhere/{path.relative_to(path.anchor)}"


def _is_whole(target: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a folder has these files, no others and no links."""
    found = {path: path.is_symlink() for path in (target, *target.rglob("*")) if path.is_symlink() or path.is_file()}
    if any(found.values()) or {str(path.relative_to(target)) for path in found} != files.keys():
        return False
    try:
        return all((target / relative).read_bytes() == content for relative, content in files.items())
    except OSError:
        return False
