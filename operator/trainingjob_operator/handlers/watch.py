"""The watches: every event goes to the intake, and nothing else happens here.

Only `on.event`: it costs no request per job and no annotation on it. No handler returns anything
or touches kopf's `patch`: kopf loses both after one conflict.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import kopf

from trainingjob_api.constants import GROUP, LABEL_JOB_NAME, PLURAL_TRAINING_JOBS, VERSION


class EventIntake(Protocol):
    """Takes watch events."""

    def job_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """A TrainingJob was listed (None), ADDED, MODIFIED or DELETED."""
        ...

    def pod_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """A pod with our label was listed (None), ADDED, MODIFIED or DELETED."""
        ...


def register_watches(
    registry: kopf.OperatorRegistry, intake: EventIntake, *, namespaces: Sequence[str]
) -> None:
    """Watch TrainingJobs, and the pods that carry our label (the server filters them).

    Args:
        registry: kopf's handlers.
        intake: where events go.
        namespaces: whose jobs are served; none: all. kopf watches one more, for its policy.
    """

    def is_served(namespace: str | None, **_: Any) -> bool:
        return not namespaces or namespace in namespaces

    @kopf.on.event(
        GROUP, VERSION, PLURAL_TRAINING_JOBS, when=is_served, registry=registry, id="job"
    )
    async def on_job(event: kopf.RawEvent, **_: Any) -> None:
        intake.job_event(event["type"], dict(event["object"]))

    @kopf.on.event(
        "v1",
        "pods",
        labels={LABEL_JOB_NAME: kopf.PRESENT},
        when=is_served,
        registry=registry,
        id="pod",
    )
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        intake.pod_event(event["type"], dict(event["object"]))
