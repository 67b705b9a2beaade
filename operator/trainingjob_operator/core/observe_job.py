"""From a TrainingJob as the API server sends it to what the operator remembers of it, and back."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from trainingjob_api.constants import (
    ANNOTATION_DISCARD_RECORD,
    ANNOTATION_KEEP,
    FINALIZER_RECORD,
    JOB_CONDITIONS,
    MAX_CONDITIONS,
    MAX_NAME_LENGTH,
    MAX_UNREAD_ATTEMPTS,
    ORPHAN_FINALIZER,
)
from trainingjob_api.errors import InvalidSpecError
from trainingjob_api.training_job import TrainingJobSpec
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.gitops import gitops_owner
from trainingjob_operator.core.job import (
    Condition,
    FailurePolicyRule,
    JobKey,
    JobSpec,
    JobStatus,
    JobView,
    Shutdown,
    UnreadLogs,
)
from trainingjob_operator.core.rawread import (
    as_dict,
    as_dicts,
    as_int,
    as_int_or_none,
    as_str,
    as_strs,
    as_time,
    one_of_equals,
    shared_text,
    time_text,
)

_FINALIZERS: Final = (FINALIZER_RECORD, ORPHAN_FINALIZER)
"""The finalizers that mean something to us."""

_LONGEST_SHARED_CONDITION: Final = 2048
"""Characters of somebody else's condition that is shared by jobs. Ours have fewer."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def job_view(raw: dict[str, Any]) -> JobView:
    """Read a TrainingJob. Whatever its spec and status hold, a view comes back.

    A spec that cannot be understood makes a view whose `invalid` says why, so that the fault
    becomes a condition on that one job.
    """
    metadata = as_dict(raw.get("metadata"))
    annotations = as_dict(metadata.get("annotations"))
    finalizers = as_strs(metadata.get("finalizers"))
    spec, invalid = JobSpec(), None
    try:
        spec = one_of_equals(_spec_view(parse_spec(raw.get("spec"))))
    except InvalidSpecError as error:
        invalid = str(error)
        # Whose job it is does not depend on whether we understand the rest.
        spec = JobSpec(managed_by=as_str(as_dict(raw.get("spec")).get("managedBy")) or None)
    if len(as_str(metadata.get("name"))) > MAX_NAME_LENGTH:
        invalid = (
            f"metadata.name: must be at most {MAX_NAME_LENGTH} characters; "
            "create the job again under a shorter name"
        )
    return JobView(
        key=JobKey(shared_text(metadata.get("namespace")), shared_text(metadata.get("name"))),
        uid=shared_text(metadata.get("uid")),
        resource_version=as_str(metadata.get("resourceVersion")),
        generation=as_int(metadata.get("generation")),
        created_at=as_time(metadata.get("creationTimestamp")) or _EPOCH,
        spec=spec,
        status=status_view(as_dict(raw.get("status"))),
        invalid=invalid,
        deleting="deletionTimestamp" in metadata,
        deleted_at=as_time(metadata.get("deletionTimestamp")),
        discard_record=annotations.get(ANNOTATION_DISCARD_RECORD) == "true",
        keep=annotations.get(ANNOTATION_KEEP, "false") != "false",
        gitops_owner=gitops_owner(as_dict(metadata.get("labels")), annotations),
        finalizers=one_of_equals(tuple(name for name in _FINALIZERS if name in finalizers)),
        finalizer_count=len(finalizers),
        record_finalizer_at=finalizers.index(FINALIZER_RECORD)
        if FINALIZER_RECORD in finalizers
        else None,
        shutdown_by=_field_manager_of_shutdown(metadata) if spec.shutdown else "",
    )


def _spec_view(spec: TrainingJobSpec) -> JobSpec:
    policy = spec.pod_failure_policy
    return JobSpec(
        num_nodes=spec.num_nodes,
        backoff_limit=spec.backoff_limit,
        disruption_limit=spec.disruption_limit,
        suspend=spec.suspend,
        shutdown=spec.shutdown,
        active_deadline_s=spec.active_deadline_seconds,
        pre_running_deadline_s=spec.pre_running_deadline_seconds,
        clean_pod_policy=spec.clean_pod_policy,
        managed_by=spec.managed_by,
        ttl_s=spec.ttl_seconds_after_finished,
        failure_rules=tuple(
            FailurePolicyRule(
                action=rule.action,
                container=rule.on_exit_codes.container_name if rule.on_exit_codes else None,
                operator=rule.on_exit_codes.operator if rule.on_exit_codes else None,
                values=frozenset(rule.on_exit_codes.values) if rule.on_exit_codes else frozenset(),
                conditions=tuple((c.type, c.status) for c in rule.on_pod_conditions or ()),
            )
            for rule in (policy.rules if policy is not None else ())
        ),
    )


def _field_manager_of_shutdown(metadata: dict[str, Any]) -> str:
    """Who set `spec.shutdown`: the API server records the manager of every field."""
    for entry in as_dicts(metadata.get("managedFields")):
        owned = as_dict(as_dict(entry.get("fieldsV1")).get("f:spec"))
        if "f:shutdown" in owned:
            return as_str(entry.get("manager"))
    return ""


def status_view(raw: dict[str, Any]) -> JobStatus:
    """Read a status; what is not understood is as if it were absent."""
    return JobStatus(
        phase=shared_text(raw.get("phase")),
        conditions=tuple(
            condition
            for entry in as_dicts(raw.get("conditions"))[:MAX_CONDITIONS]
            if (condition := _condition(entry)) is not None
        ),
        start_time=as_time(raw.get("startTime")),
        attempt_start_time=as_time(raw.get("attemptStartTime")),
        completion_time=as_time(raw.get("completionTime")),
        observed_generation=as_int(raw.get("observedGeneration")),
        attempt=max(as_int(raw.get("attempt")), 0),
        launched_attempt=as_int_or_none(raw.get("launchedAttempt")),
        restarts=max(as_int(raw.get("restarts")), 0),
        disruptions=max(as_int(raw.get("disruptions")), 0),
        disruptions_since_progress=max(as_int(raw.get("disruptionsSinceProgress")), 0),
        active=as_int(raw.get("active")),
        ready=as_int(raw.get("ready")),
        succeeded=as_int(raw.get("succeeded")),
        failed=as_int(raw.get("failed")),
        terminating=as_int(raw.get("terminating")),
        completed_indexes=shared_text(raw.get("completedIndexes")),
        shutdown=_shutdown(as_dict(raw.get("shutdown"))),
        exit_code=as_int_or_none(raw.get("exitCode")),
        record_state=shared_text(raw.get("recordState")) or None,
        record_revision=as_int_or_none(raw.get("recordRevision")),
        log_path=as_str(as_dict(raw.get("logs")).get("path")) or None,
        log_bytes=as_int_or_none(as_dict(raw.get("logs")).get("bytes")),
        unread_logs=_unread_logs(as_dict(raw.get("logs")).get("unread")),
    )


def _unread_logs(raw: object) -> tuple[UnreadLogs, ...]:
    return tuple(
        UnreadLogs(attempt=max(as_int(entry.get("attempt")), 0), ranks=as_str(entry.get("ranks")))
        for entry in as_dicts(raw)[:MAX_UNREAD_ATTEMPTS]
    )


def _condition(raw: dict[str, Any]) -> Condition | None:
    """Read a condition. One of ours that is without a time is as if it were absent."""
    if raw.get("type") not in JOB_CONDITIONS:
        return _foreign_condition(raw)
    changed = as_time(raw.get("lastTransitionTime"))
    if changed is None:
        return None
    return one_of_equals(
        Condition(
            type=shared_text(raw.get("type")),
            status=raw.get("status") == "True",
            reason=shared_text(raw.get("reason")),
            message=as_str(raw.get("message")),
            last_transition_time=changed,
            observed_generation=as_int(raw.get("observedGeneration")),
        )
    )


def _foreign_condition(raw: dict[str, Any]) -> Condition:
    """Keep a condition that another controller wrote, whatever it holds.

    A status write replaces the whole list of conditions, so what is not ours has to be in it as it
    was: with a status `Unknown`, without a time, with fractions of a second. The schema bounds how
    many there are and how long each is.
    """
    condition = Condition(
        type=shared_text(raw.get("type")),
        status=False,
        reason="",
        message="",
        last_transition_time=_EPOCH,
        foreign=json.dumps(raw, separators=(",", ":")),
    )
    is_short = len(condition.foreign) <= _LONGEST_SHARED_CONDITION
    return one_of_equals(condition) if is_short else condition


def _shutdown(raw: dict[str, Any]) -> Shutdown | None:
    requested_at = as_time(raw.get("requestedAt"))
    if requested_at is None or as_str(raw.get("mode")) not in {"Stop", "Terminate"}:
        return None
    return Shutdown(
        mode=as_str(raw.get("mode")),
        requested_at=requested_at,
        requested_by=as_str(raw.get("requestedBy")),
        reason=as_str(raw.get("reason")),
    )


def status_document(status: JobStatus) -> dict[str, Any]:
    """Write a status as the API has it. Fields that are not set are absent."""
    document: dict[str, Any] = {
        "phase": status.phase,
        "conditions": [_condition_document(c) for c in status.conditions],
        "observedGeneration": status.observed_generation,
        "attempt": status.attempt,
        "restarts": status.restarts,
        "disruptions": status.disruptions,
        "disruptionsSinceProgress": status.disruptions_since_progress,
        "active": status.active,
        "ready": status.ready,
        "succeeded": status.succeeded,
        "failed": status.failed,
        "terminating": status.terminating,
        "completedIndexes": status.completed_indexes,
    }
    optional: dict[str, Any] = {
        "startTime": status.start_time and time_text(status.start_time),
        "attemptStartTime": status.attempt_start_time and time_text(status.attempt_start_time),
        "completionTime": status.completion_time and time_text(status.completion_time),
        "launchedAttempt": status.launched_attempt,
        "shutdown": status.shutdown and _shutdown_document(status.shutdown),
        "exitCode": status.exit_code,
        "recordState": status.record_state,
        "recordRevision": status.record_revision,
        "logs": _logs_document(status),
    }
    return document | {name: value for name, value in optional.items() if value is not None}


def _condition_document(condition: Condition) -> dict[str, Any]:
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


def _shutdown_document(shutdown: Shutdown) -> dict[str, Any]:
    document = {"mode": shutdown.mode, "requestedAt": time_text(shutdown.requested_at)}
    if shutdown.requested_by:
        document["requestedBy"] = shutdown.requested_by
    if shutdown.reason:
        document["reason"] = shutdown.reason
    return document


def _logs_document(status: JobStatus) -> dict[str, Any] | None:
    if status.log_path is None:
        return None
    document: dict[str, Any] = {"path": status.log_path, "bytes": status.log_bytes or 0}
    if status.unread_logs:
        document["unread"] = [
            {"attempt": unread.attempt, "ranks": unread.ranks} for unread in status.unread_logs
        ]
    return document


def status_patch(old: JobStatus, new: JobStatus) -> dict[str, Any]:
    """The merge patch of `status` that leads from one to the other; empty when they are equal.

    Fields that only another version of the operator knows are not touched.
    """
    # The first write writes everything: a zero in a column says more than a gap.
    before = status_document(old) if old.phase else {}
    after = status_document(new)
    patch = {name: value for name, value in after.items() if before.get(name) != value}
    patch.update({name: None for name in before if name not in after})
    if patch.get("logs") and "unread" in before.get("logs", {}):
        # A merge patch keeps what it does not name, in a nested object as well.
        patch["logs"] = {"unread": None} | patch["logs"]
    return patch


def status_write(job: JobView, patch: dict[str, Any]) -> dict[str, Any]:
    """A status patch that takes effect only on the very version it was decided on."""
    return {
        "metadata": {"uid": job.uid, "resourceVersion": job.resource_version},
        "status": patch,
    }
