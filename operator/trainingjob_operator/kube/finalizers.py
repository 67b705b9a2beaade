"""Changes of finalizers, as operations of a JSON patch."""

from typing import Any, Final

from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.job import JobView

_PATH: Final = "/metadata/finalizers"


def with_record_finalizer(job: JobView) -> list[dict[str, Any]]:
    """Return the change that puts our finalizer behind those that the job has."""
    if job.record_finalizer_at is not None:
        return []
    if not job.finalizer_count:
        return [{"op": "add", "path": _PATH, "value": [FINALIZER_RECORD]}]
    return [{"op": "add", "path": f"{_PATH}/-", "value": FINALIZER_RECORD}]


def without_record_finalizer(job: JobView) -> list[dict[str, Any]]:
    """Return the change that takes our finalizer off, and no other that has come to its place."""
    if job.record_finalizer_at is None:
        return []
    place = f"{_PATH}/{job.record_finalizer_at}"
    return [
        {"op": "test", "path": place, "value": FINALIZER_RECORD},
        {"op": "remove", "path": place},
    ]


def without_finalizer(metadata: dict[str, Any], finalizer: str) -> list[dict[str, Any]]:
    """Return the change that leaves all finalizers of an object but this one, as they were read."""
    left = [each for each in metadata.get("finalizers", []) if each != finalizer]
    return [{"op": "add", "path": _PATH, "value": left}]
