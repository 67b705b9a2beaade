"""Builds JSON patch operations that add and remove finalizers."""

from typing import Any, Final

from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.core.job import JobView

_PATH: Final = "/metadata/finalizers"


def with_record_finalizer(job: JobView) -> list[dict[str, Any]]:
    """Return the operations that append our finalizer to those of the job."""
    if job.record_finalizer_at is not None:
        return []
    if not job.finalizer_count:
        return [{"op": "add", "path": _PATH, "value": [FINALIZER_RECORD]}]
    return [{"op": "add", "path": f"{_PATH}/-", "value": FINALIZER_RECORD}]


def without_record_finalizer(job: JobView) -> list[dict[str, Any]]:
    """Return the operations that remove our finalizer, and fail if another one has its index now."""
    if job.record_finalizer_at is None:
        return []
    path = f"{_PATH}/{job.record_finalizer_at}"
    return [
        {"op": "test", "path": path, "value": FINALIZER_RECORD},
        {"op": "remove", "path": path},
    ]


def without_finalizer(metadata: dict[str, Any], finalizer: str) -> list[dict[str, Any]]:
    """Return the operation that sets an object's finalizers to those it was read with, minus this one."""
    left = [each for each in metadata.get("finalizers", []) if each != finalizer]
    return [{"op": "add", "path": _PATH, "value": left}]
