"""The models parse the API server's objects, and agree with the generated CRD."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.support.builders import make_job
from tests.support.specs import CASES, Case
from trainingjob_api.retention_policy import RetentionPolicy
from trainingjob_api.training_job import TrainingJob, TrainingJobSpec
from trainingjob_api.training_job_status import TrainingJobStatus

MODELS: dict[str, type[BaseModel]] = {
    "TrainingJob": TrainingJob,
    "RetentionPolicy": RetentionPolicy,
}

STATUS: dict[str, Any] = {
    "phase": "Running",
    "conditions": [
        {
            "type": "PodsReady",
            "status": "True",
            "reason": "PodsReady",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "startTime": "2026-01-01T00:00:00Z",
    "attempt": 0,
    "completedIndexes": "0,2-5",
    "shutdown": {
        "mode": "Stop",
        "requestedAt": "2026-01-01T00:00:00.5Z",
        "requestedBy": "kubectl",
    },
    "exitCode": 137,
    "recordState": "Pending",
    "recordRevision": 1,
    "logs": {"path": "job_1", "bytes": 0},
}


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in CASES if not c.refusal])
def test_the_models_accept_what_the_api_server_accepts(case: Case) -> None:
    MODELS[case.new["kind"]].model_validate(case.new)


@pytest.mark.parametrize(
    "case",
    # The template is Kubernetes' affair: its schema judges it, the model passes it on.
    [
        pytest.param(c, id=c.id)
        for c in CASES
        if c.refusal and not c.by_rule and "containers" not in c.id and "quantity" not in c.id
    ],
)
def test_the_models_reject_values_out_of_bounds(case: Case) -> None:
    with pytest.raises(ValidationError):
        MODELS[case.new["kind"]].model_validate(case.new)


def test_defaults_are_those_of_the_reference() -> None:
    spec = TrainingJobSpec(template={})

    assert spec.num_nodes == 1
    assert spec.framework == "Plain"
    assert spec.backoff_limit == 3
    assert spec.suspend is False
    assert spec.clean_pod_policy == "Running"
    assert spec.logs.volume is False


def test_null_is_the_same_as_absent() -> None:
    raw: dict[str, Any] = {"template": {}, "numNodes": None, "shutdown": None, "logs": None}

    assert TrainingJobSpec.model_validate(raw) == TrainingJobSpec(template={})


def test_a_field_of_a_newer_version_is_ignored() -> None:
    raw = make_job(someNewField={"a": 1})["spec"]

    assert TrainingJobSpec.model_validate(raw).template == raw["template"]


def test_a_status_survives_a_round_trip_through_the_model() -> None:
    status = TrainingJobStatus.model_validate(STATUS)

    got = status.model_dump(mode="json", by_alias=True, exclude_unset=True)

    assert got["shutdown"].pop("requestedAt").startswith("2026-01-01T00:00:00.5")
    want = STATUS | {"shutdown": {"mode": "Stop", "requestedBy": "kubectl"}}
    assert got == want


def test_models_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainingJobSpec(template={}).num_nodes = 2  # type: ignore[misc]  # that is the point
