from __future__ import annotations

import json
import os
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from hpsearch.training.checkpoint import load_checkpoint, save_checkpoint
from hpsearch.training.rng import get_rng_states, seed_everything, set_rng_states

CPU = torch.device("cpu")


class Holder:
    """Keeps whatever it is given."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict


def _save(folder: Path, epoch: int, *, previous: int | None = None, ranks: int = 1) -> None:
    for rank in range(ranks):
        objects = {"holder": Holder(epoch=epoch)} if rank == 0 else {}
        save_checkpoint(
            folder, epoch=epoch, rank=rank, world_size=ranks, objects=objects, device=CPU, previous=previous
        )


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _link_elsewhere(path: Path) -> None:
    path.rename(path.parent.parent / "outside.pt")
    path.symlink_to(path.parent.parent / "outside.pt")


def _replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, rank=0) == (None, None)
    assert load_checkpoint(tmp_path / "none", rank=0) == (None, None)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_flip_a_byte, "checksum"),
        (_cut, "cut short"),
        (Path.unlink, "file missing"),
        (_link_elsewhere, "Too many levels of symbolic links"),
        (_replace_by_a_pipe, "not a file"),
    ],
)
@pytest.mark.parametrize("damaged_rank", [0, 1])
def test_every_rank_passes_over_what_is_damaged_on_any(
    tmp_path: Path, damage: Any, reason: str, damaged_rank: int
) -> None:
    folder = tmp_path / "checkpoint"
    _save(folder, 3, ranks=2)
    _save(folder, 4, previous=3, ranks=2)
    damage(folder / f"epoch-000004.rank-{damaged_rank}.pt")
    for rank in range(2):
        found, warning = load_checkpoint(folder, rank=rank)
        assert found is not None
        assert (found.epoch, found.states) == (3, {"holder": {"epoch": 3}})
        assert warning == f"checkpoint of epoch 4 is damaged ({reason}), went back to epoch 3"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"world_size": 0, "size_bytes": 1, "sha256": ""}'])
def test_a_damaged_manifest_is_damage(tmp_path: Path, text: str) -> None:
    _save(tmp_path, 1)
    (tmp_path / "epoch-000001.rank-0.json").write_text(text)
    assert load_checkpoint(tmp_path, rank=0) == (
        None,
        "checkpoint of epoch 1 is damaged (manifest), began again",
    )


@pytest.mark.parametrize("missing", ["epoch-000004.rank-0.json", "epoch-000004.rank-1.json"])
def test_a_checkpoint_that_was_never_finished_is_passed_over_in_silence(tmp_path: Path, missing: str) -> None:
    _save(tmp_path, 3, ranks=2)
    _save(tmp_path, 4, previous=3, ranks=2)
    (tmp_path / missing).unlink()
    found, warning = load_checkpoint(tmp_path, rank=0)
    assert found is not None
    assert found.epoch == 3
    assert warning is None


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 5):
        _save(tmp_path, epoch, previous=epoch - 1 or None, ranks=2)
    assert {name.partition(".")[0] for name in _names(tmp_path)} == {"epoch-000003", "epoch-000004"}
    assert len(_names(tmp_path)) == 8


def test_a_checkpoint_ahead_of_the_epochs_on_record_is_not_used(tmp_path: Path) -> None:
    for epoch in (3, 4):
        _save(tmp_path, epoch, previous=3, ranks=2)
    loaded = {at_most: load_checkpoint(tmp_path, rank=1, at_most=at_most) for at_most in (2, 3, 4, None)}
    assert {at_most: found and found.epoch for at_most, (found, _) in loaded.items()} == {2: None, 3: 3, 4: 4, None: 4}
    assert {warning for _, warning in loaded.values()} == {None}, "that is no damage"


def test_every_file_is_forced_to_the_disk_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        done.append(f"force {path.name}, {path.stat().st_size} bytes" if path.is_file() else f"force {path.name}")
        fsync(file)

    def record_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    _save(tmp_path / "checkpoint", 1)
    names = [f"epoch-000001.rank-0.{suffix}" for suffix in ("pt", "json")]
    sizes = [(tmp_path / "checkpoint" / name).stat().st_size for name in names]
    assert done == [
        step
        for name, size in zip(names, sizes, strict=True)
        for step in (f"force {name}.tmp, {size} bytes", f"rename {name}.tmp", "force checkpoint")
    ]


def test_the_one_before_stays_until_every_rank_has_written(tmp_path: Path) -> None:
    _save(tmp_path, 1, ranks=2)
    _save(tmp_path, 2, previous=1, ranks=2)
    save_checkpoint(tmp_path, epoch=3, rank=0, world_size=2, objects={}, device=CPU, previous=2)
    assert {name.partition(".")[0] for name in _names(tmp_path)} == {
        "epoch-000001",
        "epoch-000002",
        "epoch-000003",
    }


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path, 1)
    before = sorted(_names(tmp_path))

    def no_space(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(OSError, match="No space left"):
        _save(tmp_path, 2, previous=1)
    assert sorted(_names(tmp_path)) == before


def test_what_a_crash_left_behind_does_not_hinder(tmp_path: Path) -> None:
    (tmp_path / "epoch-000001.rank-0.pt.tmp").write_bytes(b"half of it")
    _save(tmp_path, 1)
    assert sorted(_names(tmp_path)) == ["epoch-000001.rank-0.json", "epoch-000001.rank-0.pt"]


def test_ones_own_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    _save(tmp_path, 1)
    _save(tmp_path, 2, previous=1)
    _save(tmp_path, 3, previous=2)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_that_would_run_code_is_refused_even_with_a_right_checksum(tmp_path: Path) -> None:
    import hashlib
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    _save(tmp_path, 1)
    path = tmp_path / "epoch-000001.rank-0.pt"
    torch.save({"epoch": 1, "states": Evil(), "rng": {}}, path)
    content = path.read_bytes()
    manifest = {"world_size": 1, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    found, warning = load_checkpoint(tmp_path, rank=0)
    assert found is None
    assert warning == "checkpoint of epoch 1 is damaged (unreadable), began again"
    assert not (tmp_path / "owned").exists()
    assert pickle.loads(pickle.dumps(1)) == 1


def test_a_state_that_could_not_be_read_back_is_refused_when_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"contains fractions\.Fraction, which can't be loaded"):
        save_checkpoint(
            tmp_path,
            epoch=1,
            rank=0,
            world_size=1,
            objects={"ratio": Holder(value=Fraction(1, 3))},
            device=CPU,
        )
    assert _names(tmp_path) == []


def test_one_worker_reads_what_two_wrote_and_the_other_way_round(tmp_path: Path) -> None:
    _save(tmp_path / "two", 1, ranks=2)
    _save(tmp_path / "one", 1, ranks=1)
    one, _ = load_checkpoint(tmp_path / "two", rank=0)
    second, _ = load_checkpoint(tmp_path / "one", rank=1)
    assert one is not None
    assert second is not None
    assert one.states == second.states == {"holder": {"epoch": 1}}
    assert one.rng is not None
    assert second.rng is None, "its random state was never written"


def test_a_checkpoint_is_a_plain_torch_file(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    save_checkpoint(tmp_path, epoch=1, rank=0, world_size=1, objects={"model": model}, device=CPU)
    content = torch.load(tmp_path / "epoch-000001.rank-0.pt", weights_only=True)
    assert torch.equal(content["states"]["model"]["weight"], model.weight)


def _draw() -> tuple[object, ...]:
    return torch.rand(3).tolist(), random.random(), random.gauss(0, 1), numpy.random.rand(), numpy.random.randn()


def test_random_states_come_back_exactly(tmp_path: Path) -> None:
    seed_everything(5)
    _draw()  # leaves half of a pair of gaussians behind in `random` and in NumPy
    torch.save(get_rng_states(CPU), tmp_path / "rng.pt")
    expected = _draw(), _draw()
    seed_everything(6)
    set_rng_states(torch.load(tmp_path / "rng.pt", weights_only=True), CPU)
    assert (_draw(), _draw()) == expected
