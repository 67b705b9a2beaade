"""The operator's manifests are valid in every supported version of Kubernetes."""

import kubernetes_validate
import pytest

from tests.support.builders import make_job
from tests.support.kubernetes_versions import OLDEST, SERVED, validate
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.manifests import pod_manifest, service_manifest
from trainingjob_operator.core.observe_job import job_view

JOB = make_job("train", nodes=2, logs={"volume": True, "claimName": "logs"})


@pytest.mark.parametrize("version", SERVED)
def test_the_pods_and_the_service_of_a_job_are_valid(version: str) -> None:
    view, spec = job_view(JOB), parse_spec(JOB["spec"])
    pod = pod_manifest(view, spec, 1)
    assert pod["spec"]["containers"][0]["volumeMounts"]
    validate(pod, version)
    validate(service_manifest(view, spec), version)


def test_the_check_finds_a_field_of_a_newer_version() -> None:
    pod = pod_manifest(job_view(JOB), parse_spec(JOB["spec"]), 0)
    pod["spec"]["containers"][0]["restartPolicyRules"] = []  # new in 1.34
    validate(pod, "1.34")
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolicyRules"):
        validate(pod, OLDEST)
