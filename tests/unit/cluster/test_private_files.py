"""Ray's folder and its token are closed to other users, whatever the umask."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpsearch.cluster import private_files
from hpsearch.cluster.private_files import access_of_others, make_ray_dir, protect_token, token_path

NOBODY = 65534
LONGEST_SOCKET = "session_2026-12-01_00-57-58_183238_4194304/sockets/plasma_store"


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def user_home(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that every user may enter, without a token and without settings of one."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(open_path))
    return open_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(*command: str | Path) -> str:
    """The error that another user gets from a command; empty if it works."""
    done = subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
    )
    return done.stderr


def test_what_ray_opens_in_its_folder_stays_closed_by_the_folder_above(umask):
    ray_dir = make_ray_dir()
    try:
        session = ray_dir / "session_1"
        session.mkdir(parents=True)
        for folder in (ray_dir, session):
            folder.chmod(0o777)  # as Ray does, whatever the umask
        (session / "raylet.out").write_text("lr=0.01")
        assert mode_of(ray_dir.parent) == 0o700
        assert access_of_others(session) == access_of_others(session / "raylet.out") == "none"
    finally:
        shutil.rmtree(ray_dir.parent)


def test_paths_of_sockets_stay_short():
    ray_dir = make_ray_dir()
    try:
        assert len(os.fsencode(ray_dir / LONGEST_SOCKET)) <= 107
    finally:
        ray_dir.parent.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_can_neither_read_nor_write_in_rays_folder():
    ray_dir = make_ray_dir()
    try:
        ray_dir.mkdir()
        ray_dir.chmod(0o777)
        (ray_dir / "raylet.out").write_text("lr=0.01")
        assert "Permission denied" in as_nobody("touch", ray_dir / "planted")
        assert "Permission denied" in as_nobody("cat", ray_dir / "raylet.out")
        ray_dir.parent.chmod(0o755)  # as it was before there was a folder above: both work
        assert as_nobody("touch", ray_dir / "planted") == as_nobody("cat", ray_dir / "raylet.out") == ""
    finally:
        shutil.rmtree(ray_dir.parent)


def test_a_token_is_made_that_only_its_user_can_read(user_home, umask):
    assert protect_token() is None
    path = user_home / ".ray" / "auth_token"
    assert token_path() == path
    assert (mode_of(path.parent), mode_of(path)) == (0o700, 0o600)
    assert len(bytes.fromhex(path.read_text())) == 32
    token = path.read_text()
    assert protect_token() is None
    assert path.read_text() == token
    assert [each.name for each in path.parent.iterdir()] == ["auth_token"]


def test_sweeps_that_start_at_the_same_time_have_one_token(user_home):
    path = user_home / ".ray" / "auth_token"

    def make(_: int) -> str:
        private_files._make_token(path)
        return path.read_text()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(make, range(8)))) == 1


def test_a_token_that_others_could_read_is_closed_and_said(user_home):
    path = user_home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.parent.chmod(0o755)
    path.write_text("made by an earlier Ray")
    path.chmod(0o644)
    said = protect_token()
    assert said is not None
    assert said.startswith(f"Other users of this machine could read Ray's token, {path}: its mode was 0644 and is 0600")
    assert mode_of(path) == 0o600
    assert path.read_text() == "made by an earlier Ray"
    assert protect_token() is None


def test_a_token_that_a_folder_kept_from_others_is_closed_without_a_word(user_home):
    path = user_home / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700)
    path.write_text("made by an earlier Ray")
    path.chmod(0o644)
    assert protect_token() is None
    assert mode_of(path) == 0o600


def test_a_narrower_mode_is_never_widened(user_home):
    path = user_home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("made by the user")
    path.chmod(0o400)
    protect_token()
    assert mode_of(path) == 0o400


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_from_elsewhere_is_left_alone(user_home, monkeypatch, name):
    path = user_home / "elsewhere"
    path.write_text("theirs")
    path.chmod(0o644)
    monkeypatch.setenv(name, str(path))
    assert protect_token() is None
    assert mode_of(path) == 0o644
    assert not (user_home / ".ray").exists()


def test_no_token_is_made_where_none_is_asked_for(user_home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert protect_token() is None
    assert not (user_home / ".ray").exists()


@pytest.mark.parametrize(("mode", "access"), [(0o600, "none"), (0o644, "read"), (0o606, "write"), (0o711, "none")])
def test_the_access_of_others_follows_from_modes(open_path, mode, access):
    path = open_path / "file"
    path.write_text("")
    path.chmod(mode)
    assert access_of_others(path) == access
    open_path.chmod(0o700)
    assert access_of_others(path) == "none"


def test_a_group_counts_as_others_unless_it_is_the_users_own():
    def bits(mode: int, *, gid: int) -> int:
        return private_files._others_bits(os.stat_result((mode, 0, 0, 1, 1000, gid, 0, 0, 0, 0)))

    assert bits(0o640, gid=1000) == 0
    assert bits(0o640, gid=100) == 0o4
