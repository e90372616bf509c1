from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from hpsearch.training import context as trial
from hpsearch.training.context import TrialContext, activate, current_trial, report


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No context was made yet, and torchrun did not start us."""
    monkeypatch.setattr(trial, "_by_hand", None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("by_hand")
def test_by_hand_there_is_one_trial_with_defaults() -> None:
    context = current_trial()
    assert context is current_trial()
    assert (context.number, context.rank, context.world_size, context.seed) == (None, 0, 1, 0)
    assert context.data["root"] is None
    assert context.device.type in ("cpu", "cuda")


def test_an_active_trial_is_seen_by_all_threads_and_only_within_its_block() -> None:
    seen: list[TrialContext] = []
    with activate(TrialContext(number=7)) as context:
        thread = threading.Thread(target=lambda: seen.append(current_trial()))
        thread.start()
        thread.join()
        with activate(TrialContext(number=8)):
            seen.append(current_trial())
        seen.append(current_trial())
    assert [one.number for one in seen] == [7, 8, 7]
    assert current_trial() is not context


@pytest.mark.usefixtures("by_hand")
def test_report_prints_one_line_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    report({"val_loss": torch.tensor(0.5)}, note="fine")
    report(val_loss=0.25)
    assert capsys.readouterr().out == "epoch 1: val_loss 0.5, note fine\nepoch 2: val_loss 0.25\n"


def test_report_prints_on_rank_0_only(capsys: pytest.CaptureFixture[str]) -> None:
    with activate(TrialContext(rank=1, world_size=2)):
        report(val_loss=0.25)
    assert capsys.readouterr().out == ""


def test_data_is_what_the_spec_says_and_read_only() -> None:
    data = TrialContext(data={"root": "images", "size": 3}).data
    assert dict(data) == {"root": "images", "size": 3}
    with pytest.raises(TypeError):
        data["root"] = "elsewhere"  # type: ignore[index]


def test_a_process_alone_on_a_cpu_loads_its_data_itself() -> None:
    assert TrialContext(device="cpu").loader_workers == 0
    assert TrialContext(device="cpu", loader_workers=3).loader_workers == 3


def test_keep_refuses_a_name_twice_and_what_has_no_state(tmp_path: Path) -> None:
    context = TrialContext(checkpoint_dir=tmp_path)
    context.keep(model=nn.Linear(1, 1))
    with pytest.raises(ValueError, match="there is a 'model' already"):
        context.keep(model=nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"keep\(lr=...\): expected an object with state_dict and .*, got float"):
        context.keep(lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got type"):
        context.keep(other=nn.Linear)  # type: ignore[arg-type]


def test_nothing_is_saved_without_keep_or_without_a_folder(tmp_path: Path) -> None:
    assert TrialContext(checkpoint_dir=tmp_path).save() is None
    assert list(tmp_path.iterdir()) == []
    without_folder = TrialContext()
    for _ in range(2):  # by hand a training function may be called again and again
        assert without_folder.keep(model=nn.Linear(1, 1)) == 0
    assert not without_folder.kept
    assert without_folder.save() is None


def _trained(folder: Path, epochs: int) -> tuple[TrialContext, nn.Linear]:
    """A trial that was saved after `epochs`, its weight equal to that number."""
    context, model = TrialContext(device="cpu", checkpoint_dir=folder), nn.Linear(1, 1)
    context.keep(model=model)
    nn.init.constant_(model.weight, epochs)
    context.epochs_done = epochs
    assert context.save() == epochs
    return context, model


def test_several_calls_of_keep_add_up_and_each_restores_its_own(tmp_path: Path) -> None:
    first = TrialContext(device="cpu", checkpoint_dir=tmp_path)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    first.keep(model=model)
    first.keep(optimizer=optimizer)
    first.epochs_done = 3
    first.save()

    second = TrialContext(device="cpu", checkpoint_dir=tmp_path)
    other = nn.Linear(2, 2)
    assert second.keep(model=other) == 3
    assert torch.equal(other.weight, model.weight)
    restored = torch.optim.SGD(other.parameters(), lr=0.1)
    assert second.keep(optimizer=restored) == 3
    assert restored.param_groups[0]["lr"] == 0.5
    assert second.epochs_done == second.resumed_from == 3


def test_what_the_checkpoint_does_not_know_is_a_clear_error(tmp_path: Path) -> None:
    _trained(tmp_path, 2)
    with pytest.raises(ValueError, match=r"checkpoint of epoch 2 has no 'ema', only model\."):
        TrialContext(device="cpu", checkpoint_dir=tmp_path).keep(ema=nn.Linear(1, 1))


def test_saving_the_same_epoch_again_writes_nothing(tmp_path: Path) -> None:
    context, _ = _trained(tmp_path, 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert context.save() == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    context, model = _trained(tmp_path, 3)
    nn.init.constant_(model.weight, 4)
    context.epochs_done = 4
    context.save()
    path = tmp_path / "epoch-000004.rank-0.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    resumed, fresh = TrialContext(device="cpu", checkpoint_dir=tmp_path), nn.Linear(1, 1)
    assert resumed.keep(model=fresh) == 3
    assert fresh.weight.item() == 3
    assert resumed.checkpoint_warning == "checkpoint of epoch 4 is damaged (checksum), went back to epoch 3"
    resumed.epochs_done = 4
    assert resumed.save() == 4
    assert TrialContext(device="cpu", checkpoint_dir=tmp_path).keep(model=fresh) == 4


def test_importing_the_trial_does_not_import_torch() -> None:
    code = "import sys, hpsearch.training.context, hpsearch.training.stepper; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
