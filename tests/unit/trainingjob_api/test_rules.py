"""Good and bad objects, checked in Python: the schema with jsonschema, the rules with CEL."""

from functools import cache
from typing import Any

import cel
import jsonschema
import pytest

from tests.support.specs import CASES, Case
from trainingjob_api import crd
from trainingjob_api.constants import (
    JOB_CONDITIONS,
    KIND_RETENTION_POLICY,
    KIND_TRAINING_JOB,
    MAX_CONDITIONS_OF_OTHERS,
    POLICY_CONDITIONS,
)
from trainingjob_api.rules import ROOM_FOR_OUR_CONDITIONS


@cache
def root_schema(kind: str) -> dict[str, Any]:
    made = crd.training_job_crd() if kind == KIND_TRAINING_JOB else crd.retention_policy_crd()
    schema: dict[str, Any] = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """The value as the API server stores it."""
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        missing = {k: s["default"] for k, s in fields.items() if "default" in s and k not in value}
        return {k: defaulted(fields.get(k, {}), v) for k, v in (value | missing).items()}
    if isinstance(value, list):
        return [defaulted(schema.get("items", {}), item) for item in value]
    return value


def broken_rules(schema: dict[str, Any], new: Any, old: Any = None) -> list[str]:
    """Messages of the rules that do not hold, here and below, as the API server would find."""
    messages = [
        rule["message"]
        for rule in schema.get("x-kubernetes-validations", [])
        if (old is not None or "oldSelf" not in rule["rule"])
        and not cel.evaluate(rule["rule"], {"self": new, "oldSelf": old})
    ]
    if isinstance(new, dict):
        for name, child in schema.get("properties", {}).items():
            if name in new:
                messages += broken_rules(child, new[name], (old or {}).get(name))
    if isinstance(new, list):
        for item in new:
            messages += broken_rules(schema["items"], item)
    return messages


def judge(case: Case) -> list[str]:
    schema = root_schema(case.new["kind"])
    new = defaulted(schema, case.new)
    old = defaulted(schema, case.old) if case.old else None
    if old is not None:
        # An update cannot write status, which is a subresource.
        new = {k: v for k, v in (new | {"status": old.get("status")}).items() if v is not None}
    return broken_rules(schema, new, old)


def schema_errors(case: Case) -> list[str]:
    validator = jsonschema.Draft202012Validator(root_schema(case.new["kind"]))
    return [error.message for error in validator.iter_errors(case.new)]


def params(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=case.id) for case in cases]


@pytest.mark.parametrize("case", params([c for c in CASES if not c.refusal]))
def test_good_objects_violate_no_rule_and_match_the_schema(case: Case) -> None:
    assert schema_errors(case) == []
    assert judge(case) == []


@pytest.mark.parametrize("case", params([c for c in CASES if c.refusal and c.by_rule]))
def test_each_bad_object_violates_one_rule_whose_message_tells_how_to_fix_it(case: Case) -> None:
    assert schema_errors(case) == [], "the schema refuses it before the rule is asked"
    [message] = judge(case)
    assert case.refusal in message


@pytest.mark.parametrize("case", params([c for c in CASES if c.refusal and not c.by_rule]))
def test_the_schema_rejects_values_out_of_bounds(case: Case) -> None:
    assert schema_errors(case) != []


def test_every_rule_has_a_good_and_a_bad_object_in_the_table() -> None:
    def messages(schema: dict[str, Any]) -> set[str]:
        found = {rule["message"] for rule in schema.get("x-kubernetes-validations", [])}
        below = [*schema.get("properties", {}).values(), schema.get("items")]
        for child in filter(None, below):
            found |= messages(child)
        return found

    rules = messages(root_schema(KIND_TRAINING_JOB)) | messages(root_schema("RetentionPolicy"))
    broken = {message for case in CASES if case.by_rule for message in judge(case)}

    # The rule about status cannot be tried by writing `spec`.
    assert broken | {ROOM_FOR_OUR_CONDITIONS.message} == rules


@pytest.mark.parametrize("kind", [KIND_TRAINING_JOB, KIND_RETENTION_POLICY])
def test_conditions_of_others_cannot_use_up_the_space_for_ours(kind: str) -> None:
    conditions = root_schema(kind)["properties"]["status"]["properties"]["conditions"]
    ours = [{"type": name} for name in (*JOB_CONDITIONS, *POLICY_CONDITIONS)]
    others = [{"type": f"example.com/No{i}"} for i in range(MAX_CONDITIONS_OF_OTHERS)]

    assert broken_rules(conditions, others + ours) == []
    assert len(others + ours) <= conditions["maxItems"]
    assert broken_rules(conditions, [*others, {"type": "OneMore"}]) == [
        ROOM_FOR_OUR_CONDITIONS.message
    ]
