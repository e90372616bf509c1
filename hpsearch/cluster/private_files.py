"""Ray's token and the folder of a local Ray: made so that no other user can read or write them."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

Access = Literal["none", "read", "write"]
"""What other users of the machine can do with a file or a folder."""


def make_ray_dir() -> Path:
    """Make the folder of a local Ray in a new folder of mode 0700, which is to be removed with it.

    Ray gives the folder that it gets mode 0777, and everything that it makes below, whatever the umask. It leaves the
    folder above alone. Its sockets are below, and the path of a socket has at most 107 bytes.

    Returns:
        The folder for Ray, which does not exist yet; its parent is the new one.
    """
    default = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="hps-", dir=default if len(default) <= 20 else "/tmp")) / "r"


def access_of_others(path: Path) -> Access:
    """What other users can do with a file or a folder, by its mode and those of all folders above it.

    A group counts as other users, unless it has the number of the owner, as the private groups of users do.

    Raises:
        OSError: The file does not exist, or this user may not look for it.
    """
    path = path.resolve(strict=True)
    if not all(_others_bits(folder.stat()) & stat.S_IXOTH for folder in path.parents):
        return "none"
    bits = _others_bits(path.stat())
    return "write" if bits & stat.S_IWOTH else "read" if bits & stat.S_IROTH else "none"


def _others_bits(found: os.stat_result) -> int:
    """The lowest three bits of a mode, with those of the group if it counts as other users."""
    group = found.st_mode >> 3 if found.st_gid != found.st_uid else 0
    return (found.st_mode | group) & stat.S_IRWXO


def token_path() -> Path | None:
    """The file of Ray's token on this machine, which need not exist; None where RAY_AUTH_TOKEN has the token itself."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _default_token_path())


def _default_token_path() -> Path:
    return Path.home() / ".ray" / "auth_token"


def protect_token() -> str | None:
    """Make Ray's token with mode 0600, or give that mode to one that Ray has made, which may have 0644.

    A token that the user has put elsewhere (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH), or that belongs to another user, is
    left as it is.

    Returns:
        A sentence for the user if other users could read the token until now; else None.
    """
    path = _default_token_path()
    if token_path() != path or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    with suppress(OSError):  # of a home that can't be written; `hpsearch doctor` reports what is left open
        if not path.exists():
            _make_token(path)
        found = path.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid == os.getuid() and mode & 0o077:
            access = access_of_others(path)
            path.chmod(0o600)
            return None if access == "none" else _was_readable(path, mode)
    return None


def _was_readable(path: Path, mode: int) -> str:
    return (
        f"Other users of this machine could read Ray's token, {path}: its mode was {mode:04o} and is 0600 now. If one"
        " of them may have read it, delete it while no Ray of yours runs; the next sweep makes a new one."
    )


def _make_token(path: Path) -> None:
    """Write a new token, unless another sweep does so at the same time: then its token is kept."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, name = tempfile.mkstemp(prefix=".auth_token-", dir=path.parent)
    try:
        with open(file, "w") as stream:
            stream.write(secrets.token_hex(32))
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
