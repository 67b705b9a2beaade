"""The watch of jobs: every event goes to the intake, and nothing else happens here.

That of pods is our own, without kopf: `kube.pod_watch`.

Only `on.event`: it costs no request per job and no annotation on it. No handler returns anything
or touches kopf's `patch`: kopf loses both after one conflict.
"""

from collections.abc import Callable, Sequence
from typing import Any

import kopf

from trainingjob_api.constants import GROUP, PLURAL_TRAINING_JOBS, VERSION

OnEvent = Callable[[str | None, dict[str, Any]], None]
"""Takes an object that was listed (None), ADDED, MODIFIED or DELETED."""


def register_watches(
    registry: kopf.OperatorRegistry,
    job_event: OnEvent,
    *,
    namespaces: Sequence[str],
) -> None:
    """Watch TrainingJobs.

    Args:
        registry: kopf's handlers.
        job_event: takes the events of TrainingJobs.
        namespaces: whose jobs are served; none: all. kopf watches one more, for its policy.
    """

    def is_served(namespace: str | None, **_: Any) -> bool:
        return not namespaces or namespace in namespaces

    @kopf.on.event(
        GROUP, VERSION, PLURAL_TRAINING_JOBS, when=is_served, registry=registry, id="job"
    )
    async def on_job(event: kopf.RawEvent, **_: Any) -> None:
        job_event(event["type"], dict(event["object"]))
