"""CPUs by affinity and cgroup quota; GPUs by the real nvidia-ml-py, against a stub of NVIDIA's library."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpsearch.devices.inventory import NO_GPU, host_cpus, visible_gpus
from tests.support.nvml_stub import DRIVER_NOT_LOADED, LIBRARY_MISMATCH, build_nvml_stub, run_with_gpus

UUIDS = ("GPU-1a2b", "GPU-1c3d", "GPU-9e9e")
COUNT = "import json; from hpsearch.devices.inventory import host_gpus; print(json.dumps(host_gpus()))"


@pytest.fixture(scope="module")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stub is."""
    return build_nvml_stub(tmp_path_factory.mktemp("nvml"))


@pytest.mark.parametrize(
    ("selection", "visible"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 0 , 2 ", [0, 2]),
        ("0,7,1", [0]),
        ("0,-1,1", [0]),
        ("GPU-9e9e,GPU-1a2b", [2, 0]),
        ("GPU-9", [2]),
        ("GPU-1", []),
        ("GPU-1a,2", [0, 2]),
        ("0,0", []),
        ("0,GPU-1a2b", []),
        ("99999999999999999999", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(selection: str | None, visible: list[int]) -> None:
    assert visible_gpus(UUIDS, selection) == visible


def test_a_lost_gpu_keeps_its_index_and_is_never_visible() -> None:
    uuids = ("GPU-a", NO_GPU, "GPU-b")
    assert visible_gpus(uuids, None) == [0, 2]
    assert visible_gpus(uuids, "2,1,0") == [2]


def test_gpus_are_counted_by_the_real_library_binding(library_dir: Path) -> None:
    code = (
        "import json, os; from hpsearch.devices.inventory import host_gpus; found = [host_gpus()]\n"
        "for selection in ('0', '1,0', 'GPU-9', '', 'MIG-77'):\n"
        "    os.environ['CUDA_VISIBLE_DEVICES'] = selection; found.append(host_gpus())\n"
        "print(json.dumps(found))"
    )
    assert run_with_gpus(code, library_dir=library_dir, uuids=",".join(UUIDS)) == [3, 1, 2, 1, 0, 1]


def test_a_gpu_that_fell_off_the_bus_is_not_counted(library_dir: Path) -> None:
    assert run_with_gpus(COUNT, library_dir=library_dir, uuids="GPU-a,lost-b,GPU-c") == 2


def test_there_are_no_gpus_without_a_driver(library_dir: Path) -> None:
    assert run_with_gpus(COUNT, library_dir=None) == 0
    assert run_with_gpus(COUNT, library_dir=library_dir, uuids="GPU-a", init=DRIVER_NOT_LOADED) == 0


def test_a_driver_that_is_broken_is_told(library_dir: Path) -> None:
    code = (
        "import json, warnings; from hpsearch.devices.inventory import host_gpus\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); count = host_gpus()\n"
        "print(json.dumps([count, *(str(warning.message) for warning in caught)]))"
    )
    sentence = "GPUs can't be counted, so none is used: NVML says 'RM has detected an NVML/RM version mismatch.'"
    assert run_with_gpus(code, library_dir=library_dir, uuids="GPU-a", init=LIBRARY_MISMATCH) == [0, sentence]


BOUND = len(os.sched_getaffinity(0))
HUGE = f"{BOUND + 7}00000"

QUOTAS: list[tuple[str, dict[str, str], int]] = [
    ("0::/", {}, BOUND),
    ("0::/", {"cpu.max": "max 100000"}, BOUND),
    ("0::/", {"cpu.max": "100000 100000"}, 1),
    ("0::/", {"cpu.max": "50000 100000"}, 1),
    ("0::/", {"cpu.max": f"{HUGE} 100000"}, BOUND),
    ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
    ("0::/../../a", {"a/cpu.max": "100000 100000"}, 1),
    ("0::/elsewhere", {"cpu.max": "100000 100000"}, 1),
    ("0::/", {"cpu.max": "nonsense"}, BOUND),
    ("3:cpu,cpuacct:/d", {"cpu/d/cpu.cfs_quota_us": "100000", "cpu/d/cpu.cfs_period_us": "100000"}, 1),
    ("3:cpu,cpuacct:/d", {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, BOUND),
    ("3:cpuset:/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, BOUND),
]


@pytest.mark.parametrize(("membership", "files", "cpus"), QUOTAS)
def test_cpus_are_those_bound_to_or_fewer_under_a_quota(
    tmp_path: Path, membership: str, files: dict[str, str], cpus: int
) -> None:
    for name, text in {"proc/self/cgroup": membership, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert host_cpus(tmp_path) == cpus


def test_two_cpus_of_quota_are_two_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("250000 100000\n")
    assert (host_cpus(tmp_path), host_cpus(tmp_path / "nothing")) == (2, 64)


def test_this_machine_has_a_cpu() -> None:
    assert 1 <= host_cpus() <= BOUND
