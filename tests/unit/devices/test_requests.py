"""What a trial asks for, and how many fit."""

from __future__ import annotations

import pytest

from hpsearch.devices.requests import WorkerRequest, check_fits, explain, fits_on, resolve_request
from hpsearch.spec.parts import Resources


@pytest.mark.parametrize(
    ("gpu", "available", "resolved"),
    [("auto", 0, 0.0), ("auto", 1, 1.0), ("auto", 8, 1.0), (0.25, 0, 0.25), (2.0, 8, 2.0)],
)
def test_auto_is_one_gpu_where_there_is_any(gpu: float | str, available: int, resolved: float) -> None:
    request = resolve_request(Resources.model_validate({"cpu": 2, "gpu": gpu, "workers": 3}), available)
    assert request == WorkerRequest(cpu=2.0, gpu=resolved, workers=3)


@pytest.mark.parametrize(
    ("request_", "cpus", "gpus", "fits", "sums"),
    [
        ((1, 0, 1), 2, 0, 2, ["CPUs: 2 / 1 = 2"]),
        ((1, 0, 2), 8, 0, 4, ["CPUs: 8 / (2 workers x 1) = 4"]),
        ((3, 0, 2), 8, 0, 1, ["CPUs: 8 / (2 workers x 3) = 1"]),
        ((0.1, 0, 1), 0.3, 0, 3, ["CPUs: 0.3 / 0.1 = 3"]),
        ((1, 1, 1), 16, 4, 4, ["CPUs: 16 / 1 = 16", "GPUs: 4 / 1 = 4"]),
        ((1, 2, 1), 16, 5, 2, ["CPUs: 16 / 1 = 16", "GPUs: 5 / 2 = 2"]),
        ((1, 1, 2), 16, 5, 2, ["CPUs: 16 / (2 workers x 1) = 8", "GPUs: 5 / (2 workers x 1) = 2"]),
        ((1, 0.25, 1), 64, 4, 16, ["CPUs: 64 / 1 = 64", "GPUs: 4 x 4 on each (0.25 a worker) = 16"]),
        ((1, 0.4, 1), 64, 4, 8, ["CPUs: 64 / 1 = 64", "GPUs: 4 x 2 on each (0.4 a worker) = 8"]),
        ((1, 1 / 3, 1), 64, 1, 3, ["CPUs: 64 / 1 = 64", "GPUs: 1 x 3 on each (0.333333 a worker) = 3"]),
        ((1, 0.6, 1), 64, 2, 2, ["CPUs: 64 / 1 = 64", "GPUs: 2 x 1 on each (0.6 a worker) = 2"]),
        ((1, 0.25, 1), 2, 4, 2, ["CPUs: 2 / 1 = 2", "GPUs: 4 x 4 on each (0.25 a worker) = 16"]),
        ((4, 0, 1), 2, 0, 0, ["CPUs: 2 / 4 = 0"]),
        ((1, 0.5, 1), 2, 0, 0, ["CPUs: 2 / 1 = 2", "GPUs: 0 x 2 on each (0.5 a worker) = 0"]),
    ],
)
def test_as_many_trials_run_at_once_as_fit_and_the_sum_says_why(
    request_: tuple[float, float, int], cpus: float, gpus: int, fits: int, sums: list[str]
) -> None:
    cpu, gpu, workers = request_
    request = WorkerRequest(cpu=cpu, gpu=gpu, workers=workers)
    assert fits_on(request, [(cpus, gpus)]) == fits
    assert list(explain(request, cpus, gpus)) == sums
    assert (fits == 0) == bool(check_fits(request, cpus, gpus))


@pytest.mark.parametrize(
    ("request_", "cpus", "gpus", "sentences"),
    [
        ((1, 1, 1), 1, 1, []),
        ((4, 0, 1), 2, 0, ["resources.cpu: a trial asks for 4 CPUs, there are 2. Ask for less."]),
        ((2, 1, 4), 4, 2, [
            "resources.cpu: a trial asks for 8 (4 workers x 2) CPUs, there are 4. Ask for less, or use fewer workers.",
            "resources.gpu: a trial asks for 4 (4 workers x 1) GPUs, there are 2. Ask for less, or use fewer workers.",
        ]),
        ((1, 0.5, 1), 2, 0, ["resources.gpu: a trial asks for 0.5 GPUs, there are 0. Ask for less."]),
    ],
)  # fmt: skip
def test_a_request_that_can_never_fit_is_reported_for_each_device(
    request_: tuple[float, float, int], cpus: float, gpus: int, sentences: list[str]
) -> None:
    cpu, gpu, workers = request_
    problems = check_fits(WorkerRequest(cpu=cpu, gpu=gpu, workers=workers), cpus, gpus)
    assert [str(problem) for problem in problems] == sentences
