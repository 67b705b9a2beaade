"""Parses, serializes and patches the status of a job, with one table of all its fields."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from trainingjob_api.constants import JOB_CONDITIONS, MAX_CONDITIONS, MAX_UNREAD_ATTEMPTS
from trainingjob_operator.core.fast_replace import differing_fields
from trainingjob_operator.core.job import Condition, JobStatus, JobView, Shutdown, UnreadLogs
from trainingjob_operator.core.untyped_json import (
    as_dict,
    as_dicts,
    as_int,
    as_int_or_none,
    as_str,
    as_time,
    intern_text,
    intern_value,
    time_text,
)

Object = dict[str, Any]

_LONGEST_SHARED_CONDITION: Final = 2048
"""Maximum length of another controller's condition to be interned. Ours are shorter."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Field(NamedTuple):
    """A field of the status.

    Attributes:
        attribute: its name in `JobStatus`.
        key: its name in the API.
        read: converts the API value, which can be anything or None, into the attribute.
        write: converts the attribute into the API value; None: the field is absent.
    """

    attribute: str
    key: str
    read: Callable[[object], Any]
    write: Callable[[Any], Any] = lambda value: value


def status_view(raw: Mapping[str, Any]) -> JobStatus:
    """Parse a status; invalid values count as absent."""
    return JobStatus(**_read(FIELDS, raw), **_read(LOG_FIELDS, as_dict(raw.get(_LOGS))))


def status_document(status: JobStatus) -> Object:
    """Serialize a status for the API. Fields that are not set are absent."""
    document = _document(FIELDS, status)
    return document | ({_LOGS: _document(LOG_FIELDS, status)} if status.log_path else {})


def status_patch(old: JobStatus, new: JobStatus) -> Object:
    """Return the merge patch from one status to another; empty if they are equal.

    Fields that only another version of the operator knows are left alone.
    """
    if not old.phase:
        # The first write sets every field, so that `kubectl get` shows zeros instead of blanks.
        return status_document(new)
    changed = differing_fields(old, new)
    before, after = _part(changed, old), _part(changed, new)
    patch = {name: value for name, value in after.items() if before.get(name) != value}
    patch.update({name: None for name in before if name not in after})
    if patch.get(_LOGS):
        # A merge patch keeps fields that it does not name, also in a nested object.
        patch[_LOGS] = dict.fromkeys(before.get(_LOGS, {})) | patch[_LOGS]
    return patch


def _part(attributes: frozenset[str], status: JobStatus) -> Object:
    """Serialize the fields of these attributes only."""
    part = _document(tuple(field for field in FIELDS if field.attribute in attributes), status)
    if attributes & _LOG_ATTRIBUTES and status.log_path:
        part[_LOGS] = _document(LOG_FIELDS, status)
    return part


def status_write(job: JobView, patch: Object) -> Object:
    """Return a status patch with uid and resourceVersion as preconditions."""
    return {
        "metadata": {"uid": job.uid, "resourceVersion": job.resource_version},
        "status": patch,
    }


def _read(fields: tuple[Field, ...], raw: Mapping[str, Any]) -> Object:
    return {field.attribute: field.read(raw.get(field.key)) for field in fields}


def _document(fields: tuple[Field, ...], status: JobStatus) -> Object:
    written = ((field.key, field.write(getattr(status, field.attribute))) for field in fields)
    return {key: value for key, value in written if value is not None}


def _count(raw: object) -> int:
    return max(as_int(raw), 0)


def _text_or_none(raw: object) -> str | None:
    return intern_text(raw) or None


def _time(value: datetime | None) -> str | None:
    return None if value is None else time_text(value)


def _conditions(raw: object) -> tuple[Condition, ...]:
    found = (_condition(entry) for entry in as_dicts(raw)[:MAX_CONDITIONS])
    return tuple(condition for condition in found if condition is not None)


def _condition(raw: Object) -> Condition | None:
    """Parse a condition; None for one of our types without a valid time."""
    if raw.get("type") not in JOB_CONDITIONS:
        return _foreign_condition(raw)
    changed = as_time(raw.get("lastTransitionTime"))
    if changed is None:
        return None
    return intern_value(
        Condition(
            type=intern_text(raw.get("type")),
            status=raw.get("status") == "True",
            reason=intern_text(raw.get("reason")),
            message=as_str(raw.get("message")),
            last_transition_time=changed,
            observed_generation=as_int(raw.get("observedGeneration")),
        )
    )


def _foreign_condition(raw: Object) -> Condition:
    """Keep a condition of another controller unchanged, whatever it contains.

    A status write replaces the whole list of conditions. So others' conditions must be written back
    exactly as they were: with a status `Unknown`, without a time, with fractions of a second. The
    schema limits their number and length.
    """
    condition = Condition(
        type=intern_text(raw.get("type")),
        status=False,
        reason="",
        message="",
        last_transition_time=_EPOCH,
        foreign=json.dumps(raw, separators=(",", ":")),
    )
    is_short = len(condition.foreign) <= _LONGEST_SHARED_CONDITION
    return intern_value(condition) if is_short else condition


def _condition_documents(conditions: tuple[Condition, ...]) -> list[Object]:
    return [_condition_document(condition) for condition in conditions]


def _condition_document(condition: Condition) -> Object:
    if condition.foreign:
        return as_dict(json.loads(condition.foreign))
    return {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": time_text(condition.last_transition_time),
        "observedGeneration": condition.observed_generation,
    }


def _shutdown(value: object) -> Shutdown | None:
    raw = as_dict(value)
    requested_at = as_time(raw.get("requestedAt"))
    if requested_at is None or as_str(raw.get("mode")) not in {"Stop", "Terminate"}:
        return None
    return Shutdown(
        mode=as_str(raw.get("mode")),
        requested_at=requested_at,
        requested_by=as_str(raw.get("requestedBy")),
        reason=as_str(raw.get("reason")),
    )


def _shutdown_document(shutdown: Shutdown | None) -> Object | None:
    if shutdown is None:
        return None
    document = {"mode": shutdown.mode, "requestedAt": time_text(shutdown.requested_at)}
    optional = {"requestedBy": shutdown.requested_by, "reason": shutdown.reason}
    return document | {key: text for key, text in optional.items() if text}


def _unread_logs(raw: object) -> tuple[UnreadLogs, ...]:
    return tuple(
        UnreadLogs(attempt=_count(entry.get("attempt")), ranks=as_str(entry.get("ranks")))
        for entry in as_dicts(raw)[:MAX_UNREAD_ATTEMPTS]
    )


def _unread_documents(unread: tuple[UnreadLogs, ...]) -> list[Object] | None:
    return [{"attempt": entry.attempt, "ranks": entry.ranks} for entry in unread] or None


FIELDS: Final = (
    Field("phase", "phase", intern_text),
    Field("conditions", "conditions", _conditions, _condition_documents),
    Field("start_time", "startTime", as_time, _time),
    Field("attempt_start_time", "attemptStartTime", as_time, _time),
    Field("completion_time", "completionTime", as_time, _time),
    Field("observed_generation", "observedGeneration", as_int),
    Field("attempt", "attempt", _count),
    Field("launched_attempt", "launchedAttempt", as_int_or_none),
    Field("restarts", "restarts", _count),
    Field("disruptions", "disruptions", _count),
    Field("disruptions_since_progress", "disruptionsSinceProgress", _count),
    Field("active", "active", as_int),
    Field("ready", "ready", as_int),
    Field("succeeded", "succeeded", as_int),
    Field("failed", "failed", as_int),
    Field("terminating", "terminating", as_int),
    Field("completed_indexes", "completedIndexes", intern_text),
    Field("shutdown", "shutdown", _shutdown, _shutdown_document),
    Field("exit_code", "exitCode", as_int_or_none),
    Field("record_state", "recordState", _text_or_none),
    Field("record_revision", "recordRevision", as_int_or_none),
)
"""All fields except those of `logs`."""

_LOGS: Final = "logs"
LOG_FIELDS: Final = (
    Field("log_path", "path", lambda raw: as_str(raw) or None),
    Field("log_bytes", "bytes", as_int_or_none, lambda size: size or 0),
    Field("unread_logs", "unread", _unread_logs, _unread_documents),
    Field("unbegun_indexes", "unbegun", as_str, lambda ranks: ranks or None),
)
"""The fields of `logs`, which is present once there is a path."""
_LOG_ATTRIBUTES: Final = frozenset(field.attribute for field in LOG_FIELDS)
