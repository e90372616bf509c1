"""The failure of an attempt that ended before the first line of the user's code.

Whatever was raised then, the machine or the process is at fault, and not the configuration: the trial is repeated, and
the search method learns nothing. Importing the user's module runs the user's code, so a failure of that is another.
"""

from __future__ import annotations

from hpsearch.errors import CAUSE_CLASSES, Cause, in_short
from hpsearch.slots.diagnosis import failure_of
from hpsearch.slots.protocol import Failed


def could_not_begin(why: BaseException | str, *, during: str) -> Failed:
    """The failure of an attempt that could not begin.

    Args:
        why: What was raised, here or in a rank; or one sentence on how a process ended.
        during: What was being done, a few words.
    """
    cause: Cause = "node_lost"
    if isinstance(why, BaseException):
        raised = getattr(why, "cause", None)  # of Ray's RayTaskError, whose own message is a long traceback
        error = raised if isinstance(raised, BaseException) else why
        found = failure_of(error).cause
        cause = found if CAUSE_CLASSES[found] == "infra" else cause
        is_own = type(error).__module__.startswith("hpsearch.")
        why = " ".join(str(error).split()) if is_own and str(error) else in_short(error)
    return Failed(cause=cause, evidence=f"could not begin: {why} ({during})", has_begun=False)
