"""Reading what the API server refuses: what it means for the job, and when to ask again."""

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

ASK_AGAIN_S: Final = 60.0
"""A permanent fault (quota, admission, a taken name) is not asked about more often than this."""

ASK_SOON_S: Final = 1.0
"""The first wait for what mostly passes by itself; then it is asked less and less often."""

_TOO_LARGE: Final = 413
_TEMPLATE_ITSELF: Final = re.compile(
    r"is invalid: .*\btemplate\.|cannot be handled as a PodTemplate"
)
"""The API server's words for a wrong PodTemplate (and not its name, or its dry run)."""

_ACCEPTED_BEFORE: Final = "the API server took a pod of this job before, and calls it invalid now"
_ALTERED: Final = (
    "the job's own template is valid, and the pod that comes of it is not (a webhook or a "
    "LimitRange changes it on its way)"
)
_UNDECIDED: Final = "the API server calls the pod invalid, and does not say if the template is"


class RefusalReader:
    """Turns an error into a note on the job. Asks the API server only about an invalid pod."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster: Final = cluster
        self._clock: Final = clock

    async def of_pod(
        self,
        entry: JobEntry,
        job: JobView,
        manifest: dict[str, Any],
        error: KubernetesError,
        before: Refusal | None,
    ) -> Refusal:
        """Read the refusal of a pod.

        What admission has made of a pod can be invalid though what we sent is not, and whoever
        changes it can be mended. So an invalid pod is fatal only if the API server calls the
        template itself invalid, and never once it has taken a pod of the job.

        Raises:
            KubernetesError: it does not answer when it is asked about the template.
        """
        if not isinstance(error, InvalidError):
            return self.of(job, error, before)
        if _was_accepted_before(entry, job):
            return self._invalid(job, error, before, why=_ACCEPTED_BEFORE)
        if error.status == _TOO_LARGE:
            return self.note(job, REASON_INVALID_POD_TEMPLATE, error.message, before, fatal=True)
        try:
            await self._cluster.try_pod_template(template_of(manifest))
        except (ForbiddenError, InvalidError, AlreadyExistsError, NotServedError) as answer:
            if _TEMPLATE_ITSELF.search(answer.message):
                reason = REASON_INVALID_POD_TEMPLATE
                return self.note(job, reason, error.message, before, fatal=True)
            return self._invalid(job, error, before, why=_UNDECIDED)
        return self._invalid(job, error, before, why=_ALTERED)

    def of(self, job: JobView, error: KubernetesError, before: Refusal | None) -> Refusal:
        """Read a refusal that can pass, as that of a Service always can: it is all our own."""
        message = error.message
        if isinstance(error, RightMissingError):
            # From anew when it is another right: a server that has just started knows none.
            wait_s = _longer_wait_s(message, before)
            return self.note(job, REASON_FORBIDDEN, message, before, wait_s=wait_s)
        if isinstance(error, NotYetReadyError):
            # As long again as the job has waited: soon at first, and then less and less often.
            age_s = (self._clock.now() - job.created_at).total_seconds()
            wait_s = min(max(age_s, ASK_SOON_S), ASK_AGAIN_S)
            return self.note(job, REASON_FORBIDDEN, message, before, wait_s=wait_s)
        if isinstance(error, QuotaExceededError):
            return self.note(job, REASON_QUOTA_EXCEEDED, message, before)
        return self.note(job, REASON_FORBIDDEN, message, before)

    def note(
        self,
        job: JobView,
        reason: str,
        message: str,
        before: Refusal | None,
        *,
        fatal: bool = False,
        wait_s: float = ASK_AGAIN_S,
    ) -> Refusal:
        """Make the note; `before` is the last refusal of the job, if it is still there."""
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
        message = f"{why}; it is asked again: {error.message}"
        wait_s = _longer_wait_s(message, before)
        return self.note(job, REASON_INVALID_POD, message, before, wait_s=wait_s)


def _longer_wait_s(message: str, before: Refusal | None) -> float:
    """Return twice the last wait if the same was refused again, else the shortest one."""
    again = before is not None and before.message == message
    return Backoff(ASK_SOON_S, ASK_AGAIN_S).next_s(before.wait_s if before and again else 0.0)


def _was_accepted_before(entry: JobEntry, job: JobView) -> bool:
    seen = bool(entry.pods or entry.vanished or entry.done)
    return seen or not job.status.never_started
