"""Builds and encodes the record of a finished job, which is stored outside the cluster.

It is built from the job alone, never from a Secret. Values of environment variables and everything
that looks like a credential are masked (`core.masking`).
"""

import hashlib
import json
import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from trainingjob_api.constants import MAIN_CONTAINER
from trainingjob_operator.core.job import JobStatus, JobView
from trainingjob_operator.core.masking import MASKED, mask_object, mask_text
from trainingjob_operator.core.untyped_json import as_dict, as_dicts, as_str, time_text

SCHEMA_VERSION: Final = 1
MAX_LINE_BYTES: Final = 256 * 1024
"""Maximum size of a record in a log line. Nodes keep some megabytes of a container's log, and a few
records must not push out everything else."""

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")

Object = dict[str, Any]


def build_record(
    job: JobView, status: JobStatus, *, labels: Object, spec: Object, cluster: str
) -> Object:
    """Build the record of a finished job.

    Args:
        job: the job.
        status: its terminal status, which may not be written yet.
        labels: `metadata.labels`.
        spec: `spec`, as decoded from JSON.
        cluster: the name of this cluster, from the settings.
    """
    outcome = status.outcome
    template = as_dict(as_dict(spec.get("template")).get("spec"))
    return {
        "schemaVersion": SCHEMA_VERSION,
        "revision": status.record_revision or 1,
        "cluster": cluster,
        "uid": job.uid,
        "namespace": job.key.namespace,
        "name": job.key.name,
        "labels": labels,
        "attempt": status.attempt,
        "phase": status.phase,
        "reason": outcome.reason if outcome is not None else "",
        "message": mask_text(outcome.message) if outcome is not None else "",
        "createdAt": time_text(job.created_at),
        "startedAt": _time_or_none(status.start_time),
        "completedAt": _time_or_none(status.completion_time),
        "durationSeconds": _duration_s(status),
        "numNodes": job.spec.num_nodes,
        "framework": as_str(spec.get("framework")) or "Plain",
        "images": sorted({as_str(c.get("image")) for c in _containers(template)} - {""}),
        "resources": _resources(template),
        "restarts": status.restarts,
        "disruptions": status.disruptions,
        "exitCode": status.exit_code,
        "logs": _logs(status),
        "spec": mask_object(_masked(spec)),
    }


def _logs(status: JobStatus) -> Object | None:
    """Return the path and size of the job's logs on the log volume; None if it has none."""
    if status.log_path is None:
        return None
    return {"path": status.log_path, "bytes": status.log_bytes or 0}


def encode_record(record: Object) -> bytes:
    """Encode the record for sending, as canonical JSON: equal records give equal bytes.

    Non-ASCII text is encoded in UTF-8 and not escaped, because escapes would make it larger.
    """
    clean = _clean(record)
    return json.dumps(clean, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def without_spec(record: Object) -> Object:
    """Return the record without its spec, the largest field, and with `specOmitted` set."""
    return record | {"spec": None, "specOmitted": True}


def record_line(record: Object) -> str:
    """Return the record as one line of ASCII JSON, for a log.

    If it exceeds `MAX_LINE_BYTES`, the spec is omitted, and if necessary also labels and images.
    """
    smallest = without_spec(record) | {"labels": {}, "images": []}
    for candidate in (record, without_spec(record)):
        line = json.dumps(_clean(candidate), sort_keys=True, separators=(",", ":"))
        if len(line) <= MAX_LINE_BYTES:
            return line
    return json.dumps(_clean(smallest), sort_keys=True, separators=(",", ":"))


def idempotency_key(record: Object, body: bytes) -> str:
    """Return the idempotency key of a record: its uid, its revision and the hash of its body."""
    return f"{record['uid']}:{record['revision']}:{hashlib.sha256(body).hexdigest()}"


def _containers(template: Object) -> Iterable[Object]:
    return (container for kind in _CONTAINERS for container in as_dicts(template.get(kind)))


def _resources(template: Object) -> Object:
    """Return requests and limits of the main container."""
    containers = as_dicts(template.get("containers"))
    named = [c for c in containers if c.get("name") == MAIN_CONTAINER] or containers
    return as_dict(named[0].get("resources")) if named else {}


def _masked(spec: Object) -> Object:
    """Return the spec with the values of all environment variables masked."""
    template = as_dict(spec.get("template"))
    pod = dict(as_dict(template.get("spec")))
    for kind in _CONTAINERS:
        if kind in pod:
            pod[kind] = [
                container | {"env": [_masked_variable(v) for v in as_dicts(container["env"])]}
                if "env" in container
                else container
                for container in as_dicts(pod[kind])
            ]
    return spec | {"template": template | {"spec": pod}}


def _masked_variable(variable: Object) -> Object:
    return variable | {"value": MASKED} if "value" in variable else variable


def _clean(value: Any) -> Any:
    """Replace values that JSON cannot represent, and text that is not valid Unicode."""
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _time_or_none(value: datetime | None) -> str | None:
    return time_text(value) if value is not None else None


def _duration_s(status: JobStatus) -> int | None:
    """Return the duration in whole seconds; None unless the job has started and finished."""
    if status.start_time is None or status.completion_time is None:
        return None
    return max(int((status.completion_time - status.start_time).total_seconds()), 0)
