"""`spec.suspend`: take the pods down, keep the job; a resume is a new attempt."""

from dataclasses import replace

from trainingjob_operator.constants import (
    CONDITION_SUSPENDED,
    REASON_RESUMED,
    REASON_SUSPENDED,
)
from trainingjob_operator.core.cleanup import deletions
from trainingjob_operator.core.decision import Plan
from trainingjob_operator.core.restart import new_attempt
from trainingjob_operator.core.situation import Situation


def when_suspended(s: Situation) -> Plan | None:
    """A suspended job has no pods, and its clock does not run.

    The attempt's number goes up before its pods go, so that a crash in between never starts an
    attempt a second time. A pod of the current attempt can also turn up later, when the operator
    died after its creation and before it wrote that down: then the number goes up once more.
    """
    if not s.spec.suspend:
        return None
    status = s.status
    launched = status.launched_attempt == status.attempt
    if launched or s.ranks.current or s.ranks.completed or s.seen.vanished:
        status = new_attempt(status)
    held = (
        s.having(replace(status, start_time=None, attempt_start_time=None))
        .no_restart_pending("the job is suspended")
        .not_ready("the job is suspended")
        .condition(
            CONDITION_SUSPENDED, to=True, reason=REASON_SUSPENDED, message="spec.suspend is true"
        )
    )
    return Plan(status=held.status, delete=deletions(s.seen.pods))


def resumed(s: Situation) -> Situation:
    """The same situation with `Suspended` false, if it was true."""
    if not s.status.is_true(CONDITION_SUSPENDED):
        return s
    return s.condition(
        CONDITION_SUSPENDED, to=False, reason=REASON_RESUMED, message="spec.suspend is false"
    )
