"""Which changes of a status are mere progress: nothing is decided from them, and they can wait.

A thousand ranks that become ready one by one are a few writes, not a thousand; and a pod that is
over a moment after it began is one write, not two.
"""

from typing import Final

from trainingjob_operator.constants import CONDITION_PODS_READY
from trainingjob_operator.core.job import Condition, JobStatus, changed_fields

_COUNTERS: Final = frozenset({"active", "ready", "succeeded", "failed", "terminating"})
_GETS_GOING: Final = ("Pending", "Running")


def is_mere_progress(old: JobStatus, new: JobStatus) -> bool:
    """Whether a status says nothing new but how far the pods have come.

    That is counters, and that every rank runs by now. What is in the way of a rank, and everything
    that a decision rests on (attempts, completed ranks, terminal conditions), is more than that.
    """
    changed = changed_fields(old, new)
    return (
        changed <= _COUNTERS | {"phase", "conditions"}
        and ("phase" not in changed or (old.phase, new.phase) == _GETS_GOING)
        and all(_is_good_news(c) for c in new.conditions if c != old.condition(c.type))
    )


def _is_good_news(condition: Condition) -> bool:
    return condition.type == CONDITION_PODS_READY and condition.status
