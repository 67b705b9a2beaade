"""Converts a raw RetentionPolicy from the API server into a `PolicyView`."""

from dataclasses import dataclass
from typing import Any

from trainingjob_api.errors import InvalidSpecError
from trainingjob_api.retention_policy import RetentionByOutcome, RetentionPolicySpec
from trainingjob_api.validation import parse_policy
from trainingjob_operator.core.retention import NO_RULES, Rules
from trainingjob_operator.core.untyped_json import as_dict, as_int, as_str, intern_text


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """A RetentionPolicy called `default`, as it was last seen.

    Attributes:
        rules: its retention rules; none if the spec is invalid.
        invalid: the reason why the spec is invalid; None if it is valid.
    """

    namespace: str
    uid: str
    resource_version: str
    generation: int = 0
    rules: Rules = NO_RULES
    invalid: str | None = None


def policy_view(raw: dict[str, Any]) -> PolicyView:
    """Convert a RetentionPolicy; never fails, whatever it contains."""
    metadata = as_dict(raw.get("metadata"))
    rules, invalid = NO_RULES, None
    try:
        rules = _rules(parse_policy(raw.get("spec")))
    except InvalidSpecError as error:
        invalid = str(error)
    return PolicyView(
        namespace=intern_text(metadata.get("namespace")),
        uid=as_str(metadata.get("uid")),
        resource_version=as_str(metadata.get("resourceVersion")),
        generation=as_int(metadata.get("generation")),
        rules=rules,
        invalid=invalid,
    )


def _rules(spec: RetentionPolicySpec) -> Rules:
    by_outcome = spec.by_outcome or RetentionByOutcome()
    return Rules(
        ttl_s=spec.ttl_seconds_after_finished,
        complete_s=by_outcome.complete,
        failed_s=by_outcome.failed,
        cancelled_s=by_outcome.cancelled,
        successful_limit=spec.successful_jobs_history_limit,
        failed_limit=spec.failed_jobs_history_limit,
        files_max_age_s=spec.logs.max_age_seconds if spec.logs is not None else None,
    )
