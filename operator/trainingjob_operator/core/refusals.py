"""Decides whether a refusal of the API server still applies to a job, and when to retry after a change.

A refusal applies to one attempt of one generation of the job. The next attempt is tried at once,
because the cause may be gone. A changed job is also tried again, because it may have been corrected;
if it changes repeatedly and is refused each time, the wait doubles.
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


def applicable_refusal(refusal: Refusal | None, job: JobView, *, now: datetime) -> Refusal | None:
    """Return the refusal as it applies to the job's current attempt and generation; None if not."""
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
    """Return the refusal with `partly_since` set if the attempt has a part of its pods."""
    if not any(pod.attempt == refusal.attempt for pod in pods):
        return refusal
    known = before.partly_since if before and before.attempt == refusal.attempt else None
    return replace(refusal, partly_since=known or refusal.refused_at)


def changed_wait_s(before: Refusal | None, attempt: int, *, now: datetime) -> float:
    """Return for how many seconds a new refusal stays in force even if the job changes.

    The first change is tried at once. Each early try that is refused doubles the wait for the next
    one, so that not every edit causes a request.
    """
    if before is None or before.attempt != attempt:
        return 0.0
    if now >= before.retry_at:
        return before.changed_wait_s
    return Backoff(_FIRST_CHANGED_WAIT_S, before.wait_s).next_s(before.changed_wait_s)
