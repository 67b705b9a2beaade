"""Denials by an admission policy on a real API server, and their classification by the gateway."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.real.chart import token_kubeconfig
from trainingjob_api.errors import ForbiddenError, RightMissingError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway

Object = dict[str, Any]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
PATIENCE_S = 60.0


def policy(name: str, namespace: str) -> tuple[Object, Object]:
    """A policy that refuses every pod of this namespace, and names no reason of its own."""
    version = "admissionregistration.k8s.io/v1"
    pods = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return (
        {
            "apiVersion": version,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [pods]},
                "validations": [{"expression": "false", "message": "no pods today"}],
            },
        },
        {
            "apiVersion": version,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": here},
            },
        },
    )


async def first_refusal(gateway: Gateway, namespace: str) -> ForbiddenError:
    """The refusal of a pod, as soon as the policy is in force."""
    deadline = time.monotonic() + PATIENCE_S
    number = 0
    while time.monotonic() < deadline:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": namespace},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
        try:
            await gateway.create_pod(pod)
        except ForbiddenError as error:
            return error
        number += 1
        await asyncio.sleep(0.2)
    raise AssertionError("the policy never came into force")


@pytest.mark.real_only
async def test_a_pod_that_an_admission_policy_denies_is_forbidden_and_not_invalid(
    api: Api,
) -> None:
    rules, binding = policy(f"no-pods-in-{api.namespace}", api.namespace)
    policies, bindings = (
        f"{ADMISSION}/{plural}"
        for plural in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    )
    await api.client.create(policies, rules)
    await api.client.create(bindings, binding)
    try:
        async with Gateway(await connect(str(api.server.kubeconfig)), timeout_s=10) as gateway:
            refusal = await first_refusal(gateway, api.namespace)
    finally:
        for path, one in ((bindings, binding), (policies, rules)):
            await api.client.delete(f"{path}/{one['metadata']['name']}")
    assert type(refusal) is ForbiddenError
    assert "no pods today" in refusal.message
    assert refusal.status == 422, "which is why the status alone does not tell"


@pytest.mark.real_only
async def test_a_missing_right_is_distinguished_from_an_admission_denial(
    api: Api, tmp_path: Path
) -> None:
    plane = api.server.plane
    assert plane is not None
    await api.client.create(
        f"/api/v1/namespaces/{api.namespace}/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}},
    )
    kubeconfig = token_kubeconfig(plane, tmp_path / "nobody", api.namespace, "nobody")
    async with Gateway(await connect(str(kubeconfig)), timeout_s=10) as gateway:
        asked = (
            gateway.get_job(JobKey(api.namespace, "mnist")),
            gateway.create_pod({"metadata": {"name": "p", "namespace": api.namespace}}),
            gateway.patch_job_status(JobKey(api.namespace, "mnist"), {"status": {}}),
            anext(aiter(gateway.list_jobs(None))),
        )
        for request in asked:
            with pytest.raises(RightMissingError) as caught:
                await request
            assert 'nobody" cannot ' in caught.value.message
