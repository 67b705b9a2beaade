"""Which pods go: when a job is finished (`cleanPodPolicy`), and when an attempt is taken down."""

from collections.abc import Iterable
from typing import Final

from trainingjob_api.constants import (
    CONDITION_FAILED,
    REASON_DEADLINE_EXCEEDED,
    REASON_PRE_RUNNING_DEADLINE_EXCEEDED,
)
from trainingjob_operator.core.decision import DeletePod
from trainingjob_operator.core.job import JobStatus
from trainingjob_operator.core.pod import PodView

_OUT_OF_TIME: Final = frozenset({REASON_DEADLINE_EXCEEDED, REASON_PRE_RUNNING_DEADLINE_EXCEEDED})


def deletions(pods: Iterable[PodView], *, grace_s: int | None = None) -> tuple[DeletePod, ...]:
    """Delete these pods; one that is being deleted already only if it shall go faster."""
    return tuple(
        DeletePod(name=p.name, uid=p.uid, grace_s=grace_s)
        for p in pods
        if not p.deleting or (grace_s is not None and (p.grace_s or 0) > grace_s)
    )


def pods_to_clean(
    status: JobStatus, clean_pod_policy: str, pods: tuple[PodView, ...]
) -> tuple[DeletePod, ...]:
    """The pods that go when the job is finished.

    `All`: all of them; `Running`: those that have not ended; `None`: none, but pods of earlier
    attempts never stay, a job whose deadline is over does not run on, and a rank that is over is
    not kept running by the containers beside its main one.
    """
    deadline = status.condition(CONDITION_FAILED)
    overdue = deadline is not None and deadline.reason in _OUT_OF_TIME
    match clean_pod_policy:
        case "All":
            return deletions(pods)
        case "None" if not overdue:
            return deletions(p for p in pods if p.side_containers or p.attempt != status.attempt)
        case _:
            return deletions(p for p in pods if p.needs_a_stop or p.attempt != status.attempt)
