"""The bridge to Ray Tune: assignments of the engine run as Tune trials, Tune's results are events for the engine.

Tune schedules, places and reuses the actors of slots. Its other features (state files, restore, loggers, metrics,
retries) are not used. One Tune trial is one assignment.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, ProgressReporter
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from hpsearch.cluster.connect import ray_settings
from hpsearch.cluster.heartbeat import Heartbeat
from hpsearch.driver.placement import PendingPlacements
from hpsearch.driver.signals import Signals
from hpsearch.engine.engine import Engine, Idle
from hpsearch.slots.protocol import Assignment, Event, Failed, Verdict
from hpsearch.slots.supervisor import ASSIGNMENT_KEY, EVENT_KEY, SlotTrainable

GRACE_S = 15.0
"""Seconds that running epochs have to finish and be saved once the sweep is to stop."""
MAX_ASSIGNMENTS = 2**31
"""Tune's limit of trials, more than any sweep has assignments."""


def run_assignments(
    engine: Engine,
    slot_class: type[SlotTrainable],
    *,
    scratch_dir: Path,
    heartbeat: Heartbeat,
    placements: PendingPlacements,
    signals: Signals,
    ticks: Iterable[Callable[[], None]] = (),
    grace_s: float = GRACE_S,
) -> None:
    """Run assignments until none is left; returns when no slot runs any more.

    Args:
        engine: Source of assignments, and receiver of events.
        slot_class: The trainable that `make_slot_class` made for this sweep.
        scratch_dir: Folder for Tune's state files, which are not used.
        heartbeat: Detects that the Ray which runs the trials has died.
        placements: Records which assignments wait for a place in Ray.
        signals: Signals of the user; after a second one all slots are killed at once.
        ticks: Functions that are called at least ten times a second.
        grace_s: Seconds that running epochs have to finish once the engine is stopping.

    Raises:
        RayDied: Ray died, and the running assignments with it; they are still running in the engine's records.
        KeyboardInterrupt: A second signal came, and Tune or Ray did not return in time.
        BaseException: The exception that the engine raised.
    """
    bridge = _Bridge(engine, placements, signals, grace_s)
    tuner = tune.Tuner(
        slot_class,
        tune_config=tune.TuneConfig(
            search_alg=_Assignments(bridge),
            scheduler=_Verdicts(bridge),
            num_samples=MAX_ASSIGNMENTS,
            reuse_actors=True,
            trial_name_creator=_assignment_name,
            trial_dirname_creator=_assignment_name,
        ),
        run_config=tune.RunConfig(
            name="assignments",
            storage_path=str(scratch_dir),
            stop=_Stop(bridge),
            callbacks=[_Tick(bridge, heartbeat, tuple(ticks)), _SlotNumbers(bridge)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
            progress_reporter=_Silent(),
        ),
    )
    # by default Tune starts one actor at a time
    with ray_settings({"TUNE_MAX_PENDING_TRIALS_PG": str(engine.concurrent)}):
        try:
            tuner.fit()
        except KeyboardInterrupt:
            bridge.end_slots()
            raise
    if bridge.error is not None:
        raise bridge.error


class _Bridge:
    """What the Tune objects below share: the engine, its first exception, and the assignment of each Tune trial."""

    def __init__(self, engine: Engine, placements: PendingPlacements, signals: Signals, grace_s: float) -> None:
        self.engine, self.placements = engine, placements
        self.error: BaseException | None = None
        """The first exception that the engine, or a function of `guarded`, raised."""
        self.assignments: dict[str, Assignment] = {}
        """Id of a Tune trial to its assignment, as long as it runs or waits."""
        self.slots: dict[str, Any] = {}
        """Id of a slot's actor to the actor's handle."""
        self._ending: list[Any] = []
        self._signals, self._grace_s = signals, grace_s
        self._is_over = False
        self._stopping_since: float | None = None

    def call_engine(self, call: Callable[[], Any], default: Any) -> Any:
        """Call the engine: no signal interrupts it half way, and after the end of the run it is not called any more.

        Args:
            call: Calls a method of the engine.
            default: Returned instead after the end of the run, or after an exception.
        """
        if self._is_over:
            return default
        with self._signals.shield():
            return self.guarded(call, default)

    def guarded(self, call: Callable[[], Any], default: Any) -> Any:
        """Call a function whose exception Tune must not swallow: it ends the run, and `run_assignments` raises it."""
        if self.error is not None:
            return default
        try:
            return call()
        except KeyboardInterrupt:  # a second signal that was not noticed in time
            raise
        except BaseException as error:
            with suppress(OSError):  # the log's disk is full
                traceback.print_exc()
            self.error = error
            return default

    def end_assignment(self, slot: Any, verdict: Verdict) -> None:
        """Have a slot end its trial; the code after the last epoch may still run."""
        ended = slot.end_assignment.remote(
            save=verdict is Verdict.SAVE_AND_END, run_to_end=verdict is Verdict.RUN_TO_END
        )
        self._ending = [*self._still_ending(), ended]

    def is_ending(self) -> bool:
        """Whether a trial still runs the code after its last epoch, so that Tune must not end its slot."""
        self._ending = self._still_ending()
        return bool(self._ending)

    def _still_ending(self) -> list[Any]:
        return ray.wait(self._ending, num_returns=len(self._ending), timeout=0)[1] if self._ending else []

    def must_stop(self) -> bool:
        """Whether Tune is to end the run now. Slots that must not be waited for are killed here."""
        if self.engine.reason is not None and self._stopping_since is None:
            self._stopping_since = time.monotonic()
        if self.error is not None or self._signals.at_once or self._is_out_of_grace():
            self.end_slots()
        return self._is_over or (
            self.engine.reason is not None and self.engine.num_running == 0 and not self.is_ending()
        )

    def _is_out_of_grace(self) -> bool:
        since = self._stopping_since
        is_late = since is not None and time.monotonic() - since > self._grace_s
        return is_late and (self.engine.num_running > 0 or self.is_ending())

    def end_slots(self) -> None:
        """Kill the supervisors, and with them their ranks and all child processes; Tune would wait for an epoch."""
        if not self._is_over:
            self._is_over = True
            self._signals.end()
            for slot in self.slots.values():
                ray.kill(slot)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its objects into its state files, which are not used


class _Assignments(Searcher):
    """The search algorithm of Tune: returns the engine's next assignment as the configuration of a Tune trial."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        assignment = self._bridge.call_engine(self._bridge.engine.next_assignment, Idle.FINISHED)
        if isinstance(assignment, Idle):
            return str(Searcher.FINISHED) if assignment is Idle.FINISHED and not self._bridge.is_ending() else None
        self._bridge.assignments[trial_id] = assignment
        self._bridge.placements.submitted(trial_id, assignment.number)
        return {ASSIGNMENT_KEY: assignment.to_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        assignment = self._bridge.assignments.pop(trial_id, None)
        self._bridge.placements.resolved(trial_id)
        if error and assignment is not None:
            lost = Failed(cause="node_lost", evidence="a node of its slot is gone, or the process that runs its ranks")
            self._bridge.call_engine(lambda: self._bridge.engine.on_event(assignment.number, lost), None)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger has the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger has the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing: the ledger has the state."""

    def get_state(self) -> dict[str, Any]:
        return {}


class _Verdicts(FIFOScheduler):
    """The scheduler of Tune: passes results to the engine, and its verdicts to Tune."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        assignment = self._bridge.assignments.get(trial.trial_id)
        event: Event = result[EVENT_KEY]
        if assignment is None:
            return str(TrialScheduler.STOP)
        verdict = self._bridge.call_engine(lambda: self._bridge.engine.on_event(assignment.number, event), Verdict.END)
        if verdict is Verdict.CONTINUE:
            return str(TrialScheduler.CONTINUE)
        slot = trial.temporary_state.ray_actor
        if slot is not None:  # now, since Tune may never give the slot another trial
            self._bridge.end_assignment(slot, verdict)
        return str(TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Stop(Stopper):
    """Ends Tune's run when `_Bridge.must_stop` is true; `_Verdicts` ends single trials."""

    def __init__(self, bridge: _Bridge) -> None:
        self._bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._bridge.must_stop()

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Silent(ProgressReporter):
    """Prevents Tune's own display, which it shows in notebooks even where `verbose` is 0."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: Any) -> None:
        """Print nothing: `live/display.py` shows the sweep."""


class _Tick(Callback):
    """Called in each round of Tune's loop, at least ten times a second: checks Ray, calls the engine and the ticks."""

    def __init__(self, bridge: _Bridge, heartbeat: Heartbeat, ticks: tuple[Callable[[], None], ...]) -> None:
        self._bridge, self._heartbeat, self._ticks = bridge, heartbeat, ticks

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._heartbeat.beat()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._bridge.placements.resolved(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._bridge.call_engine(self._bridge.engine.tick, None)
        for tick in self._ticks:
            self._bridge.guarded(tick, None)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _SlotNumbers(Callback):
    """Numbers slots from 1 in the order of their start; a slot that replaces a lost one gets a new number."""

    def __init__(self, bridge: _Bridge) -> None:
        self._bridge = bridge
        self._numbers: dict[str, int] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._bridge.guarded(lambda: self._note(trial), None)

    def _note(self, trial: Trial) -> None:
        slot, assignment = trial.temporary_state.ray_actor, self._bridge.assignments.get(trial.trial_id)
        if slot is None or assignment is None:
            return
        key = slot._actor_id.hex()
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers) + 1
            self._bridge.slots[key] = slot
            slot.set_slot_number.remote(self._numbers[key])  # runs before the first step: Ray keeps the order
        self._bridge.engine.trials[assignment.number].slot = self._numbers[key]

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _assignment_name(trial: Trial) -> str:
    assignment = Assignment.from_json(trial.config[ASSIGNMENT_KEY])
    return f"trial-{assignment.number:04d}-{assignment.attempt}-{trial.trial_id}"
