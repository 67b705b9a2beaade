"""Parsing of stored specs: any input gives a model or a one-line error."""

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.builders import make_job
from trainingjob_api.constants import MAX_MESSAGE_BYTES
from trainingjob_api.errors import InvalidSpecError
from trainingjob_api.training_job import TrainingJobSpec
from trainingjob_api.validation import MAX_DEPTH, MAX_VALUES, parse_spec

FAIL_ON_1 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}


def complaint(raw: object) -> str:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(raw)
    return str(caught.value)


def nested(depth: int) -> dict[str, Any]:
    template: dict[str, Any] = {}
    for _ in range(depth - 1):
        template = {"a": template}
    return template


def test_a_valid_spec_is_parsed() -> None:
    spec = parse_spec(make_job(nodes=2, framework="Torch", shutdown="Stop")["spec"])

    assert (spec.num_nodes, spec.framework, spec.shutdown) == (2, "Torch", "Stop")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numNodes": 0}, "spec.numNodes: must be a whole number from 1 to 1000, not 0"),
        ({"numNodes": 1.0}, "spec.numNodes: must be a whole number from 1 to 1000, not 1.0"),
        ({"numNodes": True}, "spec.numNodes: must be a whole number from 1 to 1000, not true"),
        ({"numNodes": "2"}, "spec.numNodes: must be a whole number from 1 to 1000, not '2'"),
        (
            {"numNodes": float("nan")},
            "spec.numNodes: must be a whole number from 1 to 1000, not nan",
        ),
        (
            {"numNodes": 10**5000},
            "spec.numNodes: must be a whole number from 1 to 1000, not a number that large",
        ),
        ({"suspend": "no"}, "spec.suspend: must be true or false, not 'no'"),
        (
            {"shutdown": "Now"},
            "spec.shutdown: must be one of Stop, Terminate, not 'Now'",
        ),
        ({"template": None}, "spec.template: is required and must be an object"),
        ({"template": []}, "spec.template: must be an object, not a list of 0"),
        ({"logs": 3}, "spec.logs: must be an object, not 3"),
        (
            {"logs": {"volume": True}},
            "spec.logs: set claimName to a PersistentVolumeClaim of the job's namespace, or ",
        ),
        (
            {"podFailurePolicy": {"rules": [{"action": "Retry", "onPodConditions": []}]}},
            "spec.podFailurePolicy.rules[0].action: must be one of FailJob, Ignore, Count, not ",
        ),
        (
            {"numNodes": 0, "framework": "torch", "suspend": 1},
            "spec.numNodes: must be a whole number from 1 to 1000, not 0 (and 2 more)",
        ),
        (
            {"podFailurePolicy": {"rules": [FAIL_ON_1] * 21}},
            "spec.podFailurePolicy.rules: must be a list of 0 to 20 entries, not a list of 21",
        ),
        (
            {"managedBy": "\n\x00\ud800" + "x" * 10_000},
            "spec.managedBy: must be text of at most 63 characters that matches ",
        ),
        ({"num_nodes": 2, "template": 1}, "spec.template: must be an object, not 1"),
    ],
)
def test_an_invalid_field_is_named_with_the_accepted_values(
    fields: dict[str, Any], message: str
) -> None:
    assert complaint(make_job(**fields)["spec"]).startswith(message)


@pytest.mark.parametrize("raw", [None, [], "spec", 3, True, 0.5, b"x", object()])
def test_a_spec_that_is_no_object_is_rejected(raw: object) -> None:
    assert complaint(raw).startswith("spec: must be an object, not ")


def test_snake_case_names_are_not_accepted() -> None:
    assert parse_spec({"template": {}, "num_nodes": 0}).num_nodes == 1


def test_a_template_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    assert parse_spec({"template": nested(MAX_DEPTH)}).template == nested(MAX_DEPTH)
    assert "nested at most 64 levels" in complaint({"template": nested(MAX_DEPTH + 1)})
    assert "nested at most 64 levels" in complaint({"template": nested(100_000)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"template": {"a": [[0] * 1000 for _ in range(1000)]}},
            f"spec.template: must hold at most {MAX_VALUES} values; shorten it",
            id="template",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [{"action": 7}] * 1_000_000}},
            "spec.podFailurePolicy.rules[0].action: must be one of FailJob, Ignore, Count, not 7",
            id="rules",
        ),
    ],
)
def test_a_million_values_are_rejected_quickly(fields: dict[str, Any], message: str) -> None:
    started = time.thread_time()
    got = complaint(make_job(**fields)["spec"])

    assert got == message
    assert time.thread_time() - started < 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["Stop", "Torch", "In", "Count", "", "\ud800", "x" * 5000]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=20,
)
FIELDS = [field.alias or name for name, field in TrainingJobSpec.model_fields.items()]
POISONED = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))


@given(JSON | POISONED)
@example({"template": {"\ud800": {3: object()}}})
@example({3: 4})
@settings(max_examples=200, deadline=None)
def test_any_input_gives_a_spec_or_a_one_line_error(raw: object) -> None:
    try:
        parse_spec(raw)
    except InvalidSpecError as error:
        message = str(error)
        assert message.startswith("spec")
        assert len(message.encode("utf-8")) < MAX_MESSAGE_BYTES
        assert message.isprintable()
