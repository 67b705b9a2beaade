"""Evaluates `spec.podFailurePolicy`: the consequence of one pod's failure for its job.

Rules are evaluated in order and the first match decides, as in batch/v1. Without a match a failure
counts towards `backoffLimit`, and a disruption does not. Rules look at how a pod ended. So if there
are any, a disrupted pod is judged after it has ended, and not when the disruption is announced.
"""

from collections.abc import Sequence
from enum import Enum

from trainingjob_operator.core.job import FailurePolicyRule
from trainingjob_operator.core.pod import PodView


class Verdict(Enum):
    """The consequence of a failed pod."""

    FAIL_JOB = "FailJob"
    IGNORE = "Ignore"
    COUNT = "Count"


def judge(pod: PodView, rules: Sequence[FailurePolicyRule]) -> tuple[Verdict, int | None]:
    """Return the verdict on one pod, and the index of the matching rule (None: no rule matched).

    A rank that exited with 0 after it was asked to stop did not complete, so rules apply to it, too.
    """
    if pod.has_ended and not pod.has_completed:
        for number, rule in enumerate(rules):
            if _matches(rule, pod):
                return Verdict(rule.action), number
    return (Verdict.IGNORE if pod.is_disrupted else Verdict.COUNT), None


def _matches(rule: FailurePolicyRule, pod: PodView) -> bool:
    if rule.operator is not None:
        return any(_code_matches(rule, end.container, end.exit_code) for end in pod.exits)
    return any(condition in rule.conditions for condition in pod.conditions)


def _code_matches(rule: FailurePolicyRule, container: str, code: int) -> bool:
    if code == 0 or (rule.container is not None and rule.container != container):
        return False
    return (code in rule.values) == (rule.operator == "In")
