"""The operator's Deployment is scaled to zero before its finalizers are released."""

import asyncio
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from trainingjob_api.errors import UnavailableError
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.deployments import DeploymentGateway

pytestmark = pytest.mark.real_only

NAME = "operator"
LABELS = {"app.kubernetes.io/name": "operator"}


def deployment(node: str) -> dict[str, Any]:
    """Return a Deployment whose pod is bound to a node that does not exist, so nobody confirms its deletion."""
    container = {"name": "main", "image": "example/image:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"nodeName": node, "containers": [container]},
            },
        },
    }


async def wait_for_pod(api: Api) -> str:
    async with asyncio.timeout(30):
        while True:
            listed = await api.client.get(f"/api/v1/namespaces/{api.namespace}/pods")
            if listed["items"]:
                return str(listed["items"][0]["metadata"]["name"])
            await asyncio.sleep(0.05)


async def test_scaling_to_zero_completes_only_when_the_pod_no_longer_exists(api: Api) -> None:
    path = f"/apis/apps/v1/namespaces/{api.namespace}/deployments"
    await api.client.create(path, deployment(node="silent"))
    pod = await wait_for_pod(api)
    connection = await connect(str(api.server.kubeconfig))

    async with DeploymentGateway(connection, timeout_s=15) as gateway:
        with pytest.raises(UnavailableError, match=f"the pod {pod} still exists after 1 s"):
            await gateway.scale_to_zero(api.namespace, NAME, timeout_s=1)
        found = await api.client.get(f"{path}/{NAME}")
        assert found["spec"]["replicas"] == 0

        waiting = asyncio.create_task(gateway.scale_to_zero(api.namespace, NAME, timeout_s=30))
        await api.client.delete(f"/api/v1/namespaces/{api.namespace}/pods/{pod}", grace_period_s=0)
        assert await waiting is True
        listed = await api.client.get(f"/api/v1/namespaces/{api.namespace}/pods")
        assert listed["items"] == []


async def test_a_missing_deployment_counts_as_scaled_to_zero(api: Api) -> None:
    connection = await connect(str(api.server.kubeconfig))
    async with DeploymentGateway(connection, timeout_s=15) as gateway:
        assert await gateway.scale_to_zero(api.namespace, "nobody", timeout_s=0) is False
