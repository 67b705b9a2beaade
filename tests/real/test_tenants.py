"""The statements of docs/security.md about multi-tenant namespaces and the operator's token."""

import asyncio

import pytest

from tests.support.apiserver.api import COLLECTED_S, Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.real.real_cluster import Kubectl
from trainingjob_sandbox.client import ApiError

pytestmark = pytest.mark.real_only

OUT_OF_REACH = (
    ("get", "secrets"),
    ("get", "configmaps"),
    ("create", "pods", "--subresource=exec"),
    ("patch", "pods"),
    ("create", "rolebindings"),
    ("create", "clusterrolebindings"),
    ("create", "serviceaccounts", "--subresource=token"),
    ("impersonate", "serviceaccounts"),
    ("patch", "validatingwebhookconfigurations"),
    ("delete", "validatingadmissionpolicies"),
    ("create", "trainingjobs.trainingjob.dev"),
    ("update", "leases"),  # of another name, or in another namespace
)
WITHIN_REACH = (("create", "pods"), ("delete", "pods"), ("delete", "trainingjobs.trainingjob.dev"))


async def set_quota(api: Api) -> None:
    """Set a quota of one job, and wait until it is counted.

    The controller discovers new kinds every 30 s, and retries a quota that it could not count then
    only minutes later: a new quota is counted at once.
    """
    quotas = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    hard = {"count/trainingjobs.trainingjob.dev": "1"}
    async with asyncio.timeout(2 * COLLECTED_S):
        while True:
            await api.client.create(
                quotas, {"metadata": {"name": "training"}, "spec": {"hard": hard}}
            )
            for _ in range(50):
                if "used" in (await api.client.get(f"{quotas}/training")).get("status", {}):
                    return
                await asyncio.sleep(0.1)
            await api.client.delete(f"{quotas}/training")


async def test_an_object_count_quota_rejects_a_job_over_the_limit(api: Api) -> None:
    await set_quota(api)
    await api.apply(make_job("one", suspend=True))
    with pytest.raises(ApiError, match="exceeded quota: training") as caught:
        await api.apply(make_job("another", suspend=True))
    assert caught.value.status == 403


def test_the_operators_token_has_exactly_the_documented_rights(
    api_server: ApiServerUnderTest, admin_kubectl: Kubectl
) -> None:
    assert api_server.operator is not None
    whom = ("--as", api_server.operator.user, "--namespace", "default")
    granted = [
        each
        for each in (*OUT_OF_REACH, *WITHIN_REACH)
        if admin_kubectl.run("auth", "can-i", *each, *whom).stdout.strip() == "yes"
    ]
    assert granted == [*WITHIN_REACH]
