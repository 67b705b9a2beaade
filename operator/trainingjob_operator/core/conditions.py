"""Setting conditions the way the API conventions want it."""

from dataclasses import replace
from datetime import datetime

from trainingjob_operator.core.job import Condition, JobStatus
from trainingjob_operator.core.text import cut


def set_condition(
    status: JobStatus,
    kind: str,
    *,
    to: bool,
    reason: str,
    message: str,
    now: datetime,
    generation: int,
) -> JobStatus:
    """Return the status with this condition set.

    1. A condition of the type that says the same already is left as it is.
    2. The transition time moves only when the condition's status flips.
    3. A new condition goes to the end of the list, so that the order is stable.
    """
    old = status.condition(kind)
    new = Condition(
        type=kind,
        status=to,
        reason=reason,
        message=cut(message),
        last_transition_time=(
            old.last_transition_time if old is not None and old.status == to else now
        ),
        observed_generation=generation,
    )
    if old is None:
        return replace(status, conditions=(*status.conditions, new))
    if replace(old, observed_generation=generation) == new:
        return status
    return replace(status, conditions=tuple(new if c is old else c for c in status.conditions))
