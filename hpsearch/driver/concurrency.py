"""How many trials run at once: one computation for the plan, `validate`, the start line and the running driver."""

from __future__ import annotations

from collections.abc import Sequence

from hpsearch.devices.requests import WorkerRequest, check_fits_on, explain, fits_on
from hpsearch.errors import SpecError
from hpsearch.spec.sweep import Sweep
from hpsearch.text import counted

Machine = tuple[float, int]
"""CPUs and GPUs of one machine that trials may use."""


def concurrent_trials(sweep: Sweep, request: WorkerRequest, machines: Sequence[Machine]) -> int:
    """Trials that run at once: as many as fit, at most `limits.concurrent`, and not more than the sweep has.

    Args:
        sweep: Sets `limits.concurrent` and the number of trials.
        request: What each trial asks for.
        machines: The machines, in any order.

    Returns:
        The number of trials; 0 if not even one fits.
    """
    return min(_allowed(sweep, fits_on(request, machines)), sweep.max_trials)


def check_a_trial_fits(request: WorkerRequest, machines: Sequence[Machine]) -> None:
    """Check that at least one trial can ever start.

    Args:
        request: What each trial asks for.
        machines: The machines, in any order.

    Raises:
        SpecError: No machine fits a trial; the message names the device that is short and how many there are.
    """
    if problems := check_fits_on(request, machines):
        raise SpecError(problems)


def concurrency_reasons(sweep: Sweep, request: WorkerRequest, machine: Machine) -> tuple[str, ...]:
    """Why as many trials run at once on one machine as `concurrent_trials` says, for the plan.

    Args:
        sweep: Sets `limits.concurrent` and the number of trials.
        request: What each trial asks for.
        machine: The machine.

    Returns:
        One calculation for each kind of device, then what else limits them: the sweep's size or `limits.concurrent`.
    """
    calculations, fits = explain(request, *machine), fits_on(request, [machine])
    allowed = _allowed(sweep, fits)
    if sweep.max_trials < allowed:
        return (
            *calculations,
            f"there {'is' if sweep.max_trials == 1 else 'are'} only {counted(sweep.max_trials, 'trial')}",
        )
    return (*calculations, f"limits.concurrent allows {allowed}") if allowed < fits else calculations


def _allowed(sweep: Sweep, fits: int) -> int:
    limit = sweep.limits.concurrent
    return fits if limit == "auto" else min(fits, limit)
