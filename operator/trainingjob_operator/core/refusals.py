"""The subject of a refusal: one attempt, of one generation of its job.

The next attempt asks from anew, because what refused the last one may have passed long since. A job
that has changed asks from anew, too, because it may have been corrected; one that changes again and
again, and is refused each time, does so less and less often.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.pod import PodView

_FIRST_CHANGED_WAIT_S: Final = 1.0


def standing(refusal: Refusal | None, job: JobView, *, now: datetime) -> Refusal | None:
    """Return the refusal as far as it concerns the job as it is now; None if it does not."""
    if refusal is None or refusal.attempt != job.status.attempt:
        return None
    if refusal.generation == job.generation:
        return refusal
    if now >= refusal.changed_retry_at:
        return None
    return replace(refusal, fatal=False, retry_at=refusal.changed_retry_at)


def with_partial_since(
    refusal: Refusal, before: Refusal | None, pods: Iterable[PodView]
) -> Refusal:
    """Return the refusal with since when the attempt has had a part of its pods, if it has any."""
    if not any(pod.attempt == refusal.attempt for pod in pods):
        return refusal
    known = before.partly_since if before and before.attempt == refusal.attempt else None
    return replace(refusal, partly_since=known or refusal.refused_at)


def changed_wait_s(before: Refusal | None, attempt: int, *, now: datetime) -> float:
    """Return for how many seconds a change of the job does not make a new refusal void.

    The first change is asked about at once. Each one that was asked about early, and refused,
    doubles the wait for the next, so that not every edit asks the API server.
    """
    if before is None or before.attempt != attempt:
        return 0.0
    if now >= before.retry_at:
        return before.changed_wait_s
    return Backoff(_FIRST_CHANGED_WAIT_S, before.wait_s).next_s(before.changed_wait_s)
