"""Converts a raw TrainingJob from the API server into a `JobView`."""

from datetime import UTC, datetime
from typing import Any, Final

from trainingjob_api.constants import (
    ANNOTATION_DISCARD_RECORD,
    ANNOTATION_KEEP,
    FINALIZER_RECORD,
    MAX_NAME_LENGTH,
    ORPHAN_FINALIZER,
)
from trainingjob_api.errors import InvalidSpecError
from trainingjob_api.training_job import TrainingJobSpec
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.gitops import gitops_owner
from trainingjob_operator.core.job import (
    FailurePolicyRule,
    JobKey,
    JobSpec,
    JobView,
)
from trainingjob_operator.core.status_wire import status_view
from trainingjob_operator.core.untyped_json import (
    as_dict,
    as_dicts,
    as_int,
    as_str,
    as_strs,
    as_time,
    intern_text,
    intern_value,
)

_FINALIZERS: Final = (FINALIZER_RECORD, ORPHAN_FINALIZER)
"""The finalizers that the operator handles."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def job_view(raw: dict[str, Any]) -> JobView:
    """Convert a TrainingJob; never fails, whatever its spec and status contain.

    For an invalid spec the view's `invalid` holds the reason, which becomes a condition of that job.
    """
    metadata = as_dict(raw.get("metadata"))
    annotations = as_dict(metadata.get("annotations"))
    finalizers = as_strs(metadata.get("finalizers"))
    spec, invalid = JobSpec(), None
    try:
        spec = intern_value(_spec_view(parse_spec(raw.get("spec"))))
    except InvalidSpecError as error:
        invalid = str(error)
        # `managedBy` applies even if the rest of the spec is invalid.
        spec = JobSpec(managed_by=as_str(as_dict(raw.get("spec")).get("managedBy")) or None)
    if len(as_str(metadata.get("name"))) > MAX_NAME_LENGTH:
        invalid = (
            f"metadata.name: must be at most {MAX_NAME_LENGTH} characters; "
            "create the job again under a shorter name"
        )
    return JobView(
        key=JobKey(intern_text(metadata.get("namespace")), intern_text(metadata.get("name"))),
        uid=intern_text(metadata.get("uid")),
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
        finalizers=intern_value(tuple(name for name in _FINALIZERS if name in finalizers)),
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
    """Return the field manager that set `spec.shutdown`, from `metadata.managedFields`; "" if unknown."""
    for entry in as_dicts(metadata.get("managedFields")):
        owned = as_dict(as_dict(entry.get("fieldsV1")).get("f:spec"))
        if "f:shutdown" in owned:
            return as_str(entry.get("manager"))
    return ""
