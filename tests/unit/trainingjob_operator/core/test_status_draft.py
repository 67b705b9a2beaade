"""Setting conditions by the Kubernetes API conventions."""

from tests.support.views import NOW, at, make_condition, make_status
from trainingjob_api.constants import MAX_MESSAGE_BYTES
from trainingjob_operator.core.job import JobStatus
from trainingjob_operator.core.status_draft import StatusDraft

OLD = make_status(make_condition("A"), make_condition("B", message="old"), make_condition("C"))


def set_b(
    status: JobStatus, *, to: bool = True, reason: str = "Test", message: str = "old"
) -> JobStatus:
    draft = StatusDraft(status=status, now=NOW, generation=2)
    return draft.with_condition("B", to=to, reason=reason, message=message).status


def test_an_equal_condition_is_left_unchanged() -> None:
    assert set_b(OLD) is OLD


def test_another_reason_or_message_does_not_change_the_transition_time() -> None:
    for changed in (set_b(OLD, reason="Other"), set_b(OLD, message="new")):
        condition = changed.condition("B")
        assert condition is not None
        assert condition.last_transition_time == at(-60)
        assert condition.observed_generation == 2


def test_a_changed_status_changes_the_transition_time() -> None:
    condition = set_b(OLD, to=False).condition("B")

    assert condition is not None
    assert not condition.status
    assert condition.last_transition_time == NOW


def test_the_order_of_conditions_is_stable_and_a_new_one_goes_last() -> None:
    assert [c.type for c in set_b(OLD, to=False).conditions] == ["A", "B", "C"]
    assert [c.type for c in set_b(make_status(make_condition("A"))).conditions] == ["A", "B"]


def test_a_long_message_is_truncated_and_setting_it_again_changes_nothing() -> None:
    once = set_b(OLD, message="é" * MAX_MESSAGE_BYTES)
    condition = once.condition("B")

    assert condition is not None
    assert len(condition.message.encode()) <= MAX_MESSAGE_BYTES
    assert set_b(once, message="é" * MAX_MESSAGE_BYTES) is once
