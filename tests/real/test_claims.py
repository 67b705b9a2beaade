"""A cluster whose admission rejects the operator's finalizer on jobs: the job's status reports it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.test_admission import POLICIES, remove_from_cluster
from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.records.http_endpoint import HttpEndpoint
from trainingjob_sandbox.client import ApiError

pytestmark = pytest.mark.real_only

Object = dict[str, Any]
FINALIZER = "trainingjob.dev/record"


@pytest.fixture
async def api_rejecting_the_finalizer(api: Api) -> AsyncIterator[Api]:
    """Yield the client of a namespace where a policy rejects the operator's finalizer on jobs; delete the policy at the end."""
    jobs = {
        "apiGroups": ["trainingjob.dev"],
        "apiVersions": ["v1alpha1"],
        "operations": ["UPDATE"],
        "resources": ["trainingjobs"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}
    rule = {
        "expression": f"!('{FINALIZER}' in object.metadata.?finalizers.orValue([]))",
        "message": "no finalizers here",
    }
    metadata = {"name": api.namespace}
    spec: Object = {
        "matchConstraints": {"resourceRules": [jobs], "namespaceSelector": here},
        "validations": [rule],
    }
    await api.client.create(
        f"{POLICIES}/validatingadmissionpolicies", {"metadata": metadata, "spec": spec}
    )
    binding = {"policyName": api.namespace, "validationActions": ["Deny"]}
    await api.client.create(
        f"{POLICIES}/validatingadmissionpolicybindings", {"metadata": metadata, "spec": binding}
    )
    await wait_until_refused(api)
    yield api
    await remove_from_cluster(api.client, api.namespace)


async def wait_until_refused(api: Api) -> None:
    """Wait until the policy is enforced, which takes a moment after its creation."""
    await api.apply(make_job("probe", suspend=True))
    async with asyncio.timeout(60):
        while True:
            try:
                await api.patch_job("probe", {"metadata": {"finalizers": [FINALIZER]}})
            except ApiError:
                break
            await api.patch_job("probe", {"metadata": {"finalizers": None}})
            await asyncio.sleep(0.1)
    await api.delete_job("probe")


async def test_a_job_whose_finalizer_is_denied_shows_why_and_starts_without_a_record(
    api_server: ApiServerUnderTest, api_rejecting_the_finalizer: Api, tmp_path: Path
) -> None:
    api = api_rejecting_the_finalizer
    with (
        HttpEndpoint() as ledger,
        OperatorProcess(
            api_server.operator_kubeconfig,
            tmp_path / "log",
            TRAININGJOB_NAMESPACES=api.namespace,
            TRAININGJOB_PERSIST__URL=ledger.url,
        ) as operator,
    ):
        operator.wait_until_ready()
        await api.apply(unscheduled(make_job("refused")))
        status = await api.wait_for_job(
            "refused", lambda s: condition(s, "PodsReady").get("reason") == "Forbidden"
        )
        said = condition(status, "PodsReady")["message"]
        assert said.startswith(f"the finalizer {FINALIZER} cannot be added to the job")
        assert said.endswith("denied request: no finalizers here")
        assert status["phase"] == "Pending"
        async with asyncio.timeout(20):
            while not [e for e in await api.events("refused") if e["reason"] == "Forbidden"]:
                await asyncio.sleep(0.05)
        assert await api.pods("refused") == []

        given_up = {"metadata": {"annotations": {"trainingjob.dev/discard-record": "true"}}}
        await api.patch_job("refused", given_up)
        await api.wait_for_pods("refused", 1, patience_s=90)
    assert ledger.rows == {}
