"""Builds the API requests of the actions on jobs, and the sentences that describe their effects. Pure.

Every request has the job's uid as precondition: a later job of the same name is never touched.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_api.constants import API_VERSION, KIND_TRAINING_JOB, MAX_NAME_LENGTH
from trainingjob_console.jobs.summary import Object, Summary, as_dict, as_text

PATCHES: Final[dict[str, tuple[str, object]]] = {
    "suspend": ("suspend", True),
    "resume": ("suspend", False),
    "stop": ("shutdown", "Stop"),
    "terminate": ("shutdown", "Terminate"),
}
"""The actions that set a field of the spec: the field and its new value."""

ACTIONS: Final = (*PATCHES, "delete", "run-again")
_SUFFIX_BYTES: Final = 3
_NOT_COPIED: Final = "kubectl.kubernetes.io/"
_OURS: Final = "trainingjob.dev/"


@dataclass(frozen=True, slots=True)
class Target:
    """The job that an action is for."""

    namespace: str
    name: str
    uid: str


def patch_of(action: str, uid: str) -> list[Object]:
    """Return the JSON patch of an action, which fails unless the job has this uid."""
    field, value = PATCHES[action]
    return [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": f"/spec/{field}", "value": value},
    ]


def deletion_of(uid: str, *, dry_run: bool) -> Object:
    """Return the DeleteOptions. With a body the API server ignores query parameters such as `dryRun`."""
    options: Object = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": uid},
    }
    return options | {"dryRun": ["All"]} if dry_run else options


def copy_of(job: Object) -> Object:
    """Return a new job with the same spec, labels and annotations, and a random suffix in its name.

    `shutdown` and `suspend` are not copied, nor are labels and annotations of kubectl and of the operator.
    """
    metadata = as_dict(job.get("metadata"))
    spec = {k: v for k, v in as_dict(job.get("spec")).items() if k not in ("shutdown", "suspend")}
    suffix = secrets.token_hex(_SUFFIX_BYTES)
    name = as_text(metadata.get("name"))[: MAX_NAME_LENGTH - len(suffix) - 1].rstrip("-")
    kept: dict[str, Any] = {
        part: {
            key: value
            for key, value in as_dict(metadata.get(part)).items()
            if not key.startswith((_NOT_COPIED, _OURS))
        }
        for part in ("labels", "annotations")
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND_TRAINING_JOB,
        "metadata": {
            "name": f"{name}-{suffix}",
            "namespace": as_text(metadata.get("namespace")),
            **{part: values for part, values in kept.items() if values},
        },
        "spec": spec,
    }


def describe_effect(action: str, job: Summary) -> str:
    """Return a sentence or two that describe what the action does to this job."""
    active = job.ranks[1]
    pods = "Its pod is" if active == 1 else f"Its {active} pods are"
    if action == "delete":
        left = "Its record stays." if job.record == "Stored" else "Its record is stored first."
        deleted = (
            "It is deleted, with its pods."
            if job.is_finished
            else f"{pods} stopped, and it is deleted."
        )
        return f"{deleted} {left}"
    if action == "run-again":
        return "A new job with the same spec is created."
    if job.is_finished:
        return "It has already ended: nothing changes."
    held = f"{pods} deleted; it can be resumed." if active else "It starts no pods until resumed."
    return {
        "suspend": held,
        "resume": "All its ranks start again, as a new attempt.",
        "stop": f"{pods} asked to stop within the grace period; the job cannot be resumed.",
        "terminate": f"{pods} killed at once; the job cannot be resumed.",
    }[action]
