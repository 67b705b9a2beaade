"""Classifies errors of pod and Service creation: quota, admission, RBAC, invalid template.

The result is a `Refusal`: the reason for the job's status, and the time of the next try.
"""

import re
from datetime import timedelta
from typing import Any, Final

from trainingjob_api.constants import (
    REASON_FORBIDDEN,
    REASON_INVALID_POD,
    REASON_INVALID_POD_TEMPLATE,
    REASON_QUOTA_EXCEEDED,
)
from trainingjob_api.errors import (
    AlreadyExistsError,
    ForbiddenError,
    InvalidError,
    KubernetesError,
    NotServedError,
    NotYetReadyError,
    QuotaExceededError,
    RightMissingError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.decision import Refusal
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.manifests import template_of
from trainingjob_operator.core.refusals import changed_wait_s
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.kube.cluster import Cluster

LONGEST_RETRY_S: Final = 60.0
"""Seconds between two tries after a permanent error (quota, admission, a name that is in use)."""

FIRST_RETRY_S: Final = 1.0
"""First wait in seconds after an error that mostly passes by itself; the wait doubles each time."""

_TOO_LARGE: Final = 413
_TEMPLATE_ITSELF: Final = re.compile(
    r"is invalid: .*\btemplate\.|cannot be handled as a PodTemplate"
)
"""Matches the API server's message about an invalid PodTemplate, but not about its name or dry run."""

_ACCEPTED_BEFORE: Final = (
    "the API server rejects the pod as invalid, although it accepted a pod of this job before"
)
_ALTERED: Final = (
    "the job's template is valid, but the resulting pod is not (a webhook or a LimitRange changes "
    "it during admission)"
)
_UNDECIDED: Final = (
    "the API server rejects the pod as invalid, and does not say whether the template is invalid"
)


class CreateErrorClassifier:
    """Turns an error into a `Refusal`. Sends a request only to check an invalid pod's template."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster: Final = cluster
        self._clock: Final = clock

    async def classify_pod_error(
        self,
        entry: JobEntry,
        job: JobView,
        manifest: dict[str, Any],
        error: KubernetesError,
        before: Refusal | None,
    ) -> Refusal:
        """Classify the error of creating a pod.

        Admission can turn a valid pod into an invalid one, and a webhook or LimitRange that does so
        can be corrected. So an invalid pod is fatal only if the API server also rejects the template
        itself (a dry run of a PodTemplate), and never once it has accepted a pod of the job.

        Raises:
            KubernetesError: the template could not be checked.
        """
        if not isinstance(error, InvalidError):
            return self.classify(job, error, before)
        if _was_accepted_before(entry, job):
            return self._invalid(job, error, before, why=_ACCEPTED_BEFORE)
        if error.status == _TOO_LARGE:
            return self.refusal(
                job, REASON_INVALID_POD_TEMPLATE, error.message, before, fatal=True
            )
        try:
            await self._cluster.try_pod_template(template_of(manifest))
        except (ForbiddenError, InvalidError, AlreadyExistsError, NotServedError) as answer:
            if _TEMPLATE_ITSELF.search(answer.message):
                reason = REASON_INVALID_POD_TEMPLATE
                return self.refusal(job, reason, error.message, before, fatal=True)
            return self._invalid(job, error, before, why=_UNDECIDED)
        return self._invalid(job, error, before, why=_ALTERED)

    def classify(self, job: JobView, error: KubernetesError, before: Refusal | None) -> Refusal:
        """Classify an error that can pass. A Service's always can: no part of it is the user's."""
        message = error.message
        if isinstance(error, RightMissingError):
            # The back-off restarts for another missing right: a starting API server denies them all.
            wait_s = _longer_wait_s(message, before)
            return self.refusal(job, REASON_FORBIDDEN, message, before, wait_s=wait_s)
        if isinstance(error, NotYetReadyError):
            # The wait equals the age of the job, so that tries become less and less frequent.
            age_s = (self._clock.now() - job.created_at).total_seconds()
            wait_s = min(max(age_s, FIRST_RETRY_S), LONGEST_RETRY_S)
            return self.refusal(job, REASON_FORBIDDEN, message, before, wait_s=wait_s)
        if isinstance(error, QuotaExceededError):
            return self.refusal(job, REASON_QUOTA_EXCEEDED, message, before)
        return self.refusal(job, REASON_FORBIDDEN, message, before)

    def refusal(
        self,
        job: JobView,
        reason: str,
        message: str,
        before: Refusal | None,
        *,
        fatal: bool = False,
        wait_s: float = LONGEST_RETRY_S,
    ) -> Refusal:
        """Build the `Refusal`; `before` is the job's previous one, if it still applies."""
        now, attempt = self._clock.now(), job.status.attempt
        changed_s = changed_wait_s(before, attempt, now=now)
        return Refusal(
            reason=reason,
            message=message,
            retry_at=now + timedelta(seconds=wait_s),
            wait_s=wait_s,
            fatal=fatal,
            attempt=attempt,
            generation=job.generation,
            refused_at=now,
            changed_retry_at=now + timedelta(seconds=changed_s),
            changed_wait_s=changed_s,
        )

    def _invalid(
        self, job: JobView, error: KubernetesError, before: Refusal | None, *, why: str
    ) -> Refusal:
        message = f"{why}; it is tried again: {error.message}"
        wait_s = _longer_wait_s(message, before)
        return self.refusal(job, REASON_INVALID_POD, message, before, wait_s=wait_s)


def _longer_wait_s(message: str, before: Refusal | None) -> float:
    """Return twice the previous wait for the same message, else the shortest wait."""
    again = before is not None and before.message == message
    return Backoff(FIRST_RETRY_S, LONGEST_RETRY_S).next_s(
        before.wait_s if before and again else 0.0
    )


def _was_accepted_before(entry: JobEntry, job: JobView) -> bool:
    seen = bool(entry.pods or entry.vanished or entry.done)
    return seen or not job.status.never_started
