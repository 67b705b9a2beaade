"""Admission of a job's pods on a real API server, and the messages that the user reads.

Quota, Pod Security, limits and policies are the control plane's own, and so are their messages.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.audit import AuditLog
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.real.real_cluster import Kubectl
from trainingjob_sandbox.client import ApiClient, ApiError

pytestmark = pytest.mark.real_only

Object = dict[str, Any]
SECURITY_LEVEL = "pod-security.kubernetes.io/enforce"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
TRIED_AGAIN_AFTER_S = 60.0


async def exhaust_quota(api: Api) -> None:
    quota = {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}}
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/resourcequotas", quota)
    path = f"/api/v1/namespaces/{api.namespace}/resourcequotas/tight"
    while "used" not in (await api.client.get(path)).get("status", {}):
        await asyncio.sleep(0.05)


async def raise_quota(api: Api) -> None:
    path = f"/api/v1/namespaces/{api.namespace}/resourcequotas/tight"
    await api.client.patch(path, {"spec": {"hard": {"pods": "10"}}})


async def set_security_level(api: Api, level: str | None) -> None:
    labels = {"metadata": {"labels": {SECURITY_LEVEL: level}}}
    await api.client.patch(f"/api/v1/namespaces/{api.namespace}", labels)


async def set_limits(api: Api) -> None:
    limits = [{"type": "Container", "max": {"memory": "1Gi"}, "default": {"memory": "512Mi"}}]
    body = {"metadata": {"name": "small"}, "spec": {"limits": limits}}
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/limitranges", body)


async def set_default_limits(api: Api) -> None:
    limits = [{"type": "Container", "default": {"memory": "512Mi"}}]
    body = {"metadata": {"name": "small"}, "spec": {"limits": limits}}
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/limitranges", body)


async def remove_limits(api: Api) -> None:
    await api.client.delete(f"/api/v1/namespaces/{api.namespace}/limitranges/small")


async def create_account(api: Api) -> None:
    body = {"metadata": {"name": "trainer"}}
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/serviceaccounts", body)


async def create_priority(api: Api) -> None:
    body = {"metadata": {"name": api.namespace}, "value": 1}
    await api.client.create(PRIORITIES, body)


async def set_policy(api: Api) -> None:
    """Create a policy that rejects pods without a project, and wait until it is enforced."""
    rule = {"expression": "'project' in object.metadata.labels", "message": "name your project"}
    resources = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}
    policy = {
        "metadata": {"name": api.namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [resources], "namespaceSelector": here},
            "validations": [rule],
        },
    }
    binding = {
        "metadata": {"name": api.namespace},
        "spec": {"policyName": api.namespace, "validationActions": ["Deny"]},
    }
    await api.client.create(f"{POLICIES}/validatingadmissionpolicies", policy)
    await api.client.create(f"{POLICIES}/validatingadmissionpolicybindings", binding)
    await until_pods_are_refused(api)


async def until_pods_are_refused(api: Api) -> None:
    """Wait until the server rejects a plain pod: admission reads its objects from a watch cache."""
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    pods = f"/api/v1/namespaces/{api.namespace}/pods"
    while True:
        with contextlib.suppress(ApiError):
            await api.client._call("POST", pods, query={"dryRun": "All"}, body=pod)
            await asyncio.sleep(0.1)
            continue
        return


async def remove_policy(api: Api) -> None:
    await remove_from_cluster(api.client, api.namespace)


async def remove_from_cluster(client: ApiClient, name: str) -> None:
    """Delete the cluster-scoped objects of obstacles."""
    for path in (
        f"{POLICIES}/validatingadmissionpolicybindings",
        f"{POLICIES}/validatingadmissionpolicies",
        PRIORITIES,
    ):
        try:
            await client.delete(f"{path}/{name}")
        except ApiError as error:
            if not error.not_found:
                raise


async def nothing(api: Api) -> None:
    """Prepare nothing."""


def restrict(level: str | None) -> Callable[[Api], Awaitable[None]]:
    async def set_it(api: Api) -> None:
        await set_security_level(api, level)
        if level is not None:
            await until_pods_are_refused(api)

    return set_it


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A condition under which a job's pods cannot be created.

    Attributes:
        stage: establishes the condition.
        mend: removes it.
        reason, words: what is in the job's condition; `words` are the server's, in order, with
            `{ns}` for the namespace.
        pods: number of pods that are created nevertheless.
        pod_spec: fields of the pods' spec.
        asked_again: maximum number of retries in the first seconds.
    """

    stage: Callable[[Api], Awaitable[None]] = nothing
    mend: Callable[[Api], Awaitable[None]]
    words: tuple[str, ...]
    reason: str = "Forbidden"
    pods: int = 0
    pod_spec: dict[str, Any]
    asked_again: int = 0


def container(memory: str, *, what: str = "limits") -> Object:
    resources = {what: {"memory": memory}}
    return {"name": "trainer", "image": "example/mnist:1.0", "resources": resources}


OBSTACLES = {
    "quota": Obstacle(
        stage=exhaust_quota,
        mend=raise_quota,
        reason="QuotaExceeded",
        words=("exceeded quota: tight, requested: pods=1, used: pods=1, limited: pods=1",),
        pods=1,
        pod_spec={},
    ),
    "pod security": Obstacle(
        stage=restrict("restricted"),
        mend=restrict(None),
        words=(
            'violates PodSecurity "restricted:latest"',
            "allowPrivilegeEscalation != false",
            "runAsNonRoot != true",
        ),
        pod_spec={},
    ),
    "a limit range": Obstacle(
        stage=set_limits,
        mend=remove_limits,
        words=("maximum memory usage per Container is 1Gi, but limit is 2Gi",),
        pod_spec={"containers": [container("2Gi")]},
    ),
    "a limit range that makes the pod invalid": Obstacle(
        stage=set_default_limits,
        mend=remove_limits,
        reason="InvalidPod",
        words=(
            "the job's template is valid",
            'spec.containers[0].resources.requests: Invalid value: "1Gi": must be less than',
            "or equal to memory limit of 512Mi",
        ),
        pod_spec={"containers": [container("1Gi", what="requests")]},
        asked_again=3,  # a moment later, and then less and less often
    ),
    "no service account": Obstacle(
        mend=create_account,
        words=(
            'error looking up service account {ns}/trainer: serviceaccount "trainer" not found',
        ),
        pod_spec={"serviceAccountName": "trainer"},
        asked_again=3,  # a moment later, and then less and less often
    ),
    "no priority class": Obstacle(
        mend=create_priority,
        words=("no PriorityClass with name {ns} was found",),
        pod_spec={"priorityClassName": "{ns}"},
    ),
    "an admission policy": Obstacle(
        stage=set_policy,
        mend=remove_policy,
        words=("ValidatingAdmissionPolicy '{ns}'", "denied request: name your project"),
        pod_spec={},
    ),
}


def blocked_job(api: Api, obstacle: Obstacle) -> Object:
    spec = {
        key: value.format(ns=api.namespace) if isinstance(value, str) else value
        for key, value in obstacle.pod_spec.items()
    }
    return unscheduled(make_job("blocked", nodes=3), **spec)


async def wait_for_refusal(api: Api, obstacle: Obstacle) -> Object:
    status = await api.wait_for_job(
        "blocked", lambda s: condition(s, "PodsReady").get("reason") == obstacle.reason
    )
    message = condition(status, "PodsReady")["message"]
    missing = [w for w in obstacle.words if w.format(ns=api.namespace) not in message]
    assert not missing, message
    return status


Stage = Callable[[Api, Obstacle], Awaitable[None]]


@pytest.fixture
async def stage(api_server: ApiServerUnderTest) -> AsyncIterator[Stage]:
    """Return a function that establishes an obstacle; its cluster-scoped objects are deleted after the test."""
    names: list[str] = []

    async def put(api: Api, obstacle: Obstacle) -> None:
        names.append(api.namespace)
        await obstacle.stage(api)

    yield put
    async with ApiClient.from_kubeconfig(api_server.kubeconfig) as client:
        for name in names:
            await remove_from_cluster(client, name)


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=[*OBSTACLES])
async def test_a_job_whose_pods_are_rejected_waits_and_shows_the_servers_message(
    operator: OperatorProcess, stage: Stage, api: Api, obstacle: Obstacle
) -> None:
    await stage(api, obstacle)
    await api.apply(blocked_job(api, obstacle))

    status = await wait_for_refusal(api, obstacle)

    assert status["phase"] == "Pending"
    assert (status["attempt"], status["restarts"], status["disruptions"]) == (0, 0, 0)
    assert len(await api.pods("blocked")) == status["active"] == obstacle.pods
    # `kubectl describe` says it, too.
    async with asyncio.timeout(20):
        while not any(obstacle.reason == e["reason"] for e in await api.events("blocked")):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=[*OBSTACLES])
async def test_a_rejection_is_retried_with_backoff(
    operator: OperatorProcess,
    operator_user: str,
    audit: AuditLog,
    stage: Stage,
    api: Api,
    *,
    obstacle: Obstacle,
) -> None:
    await stage(api, obstacle)
    await api.apply(blocked_job(api, obstacle))
    await wait_for_refusal(api, obstacle)
    here = {"user": operator_user, "namespace": api.namespace}
    creations = audit.count(**here, verb="create", resource="pods")

    for number in range(20):  # each an event that the job's pass is made for
        await api.patch_job("blocked", {"metadata": {"labels": {"touched": str(number)}}})
    await api.apply(make_job("witness", suspend=True))
    await api.wait_for_phase("witness", "Suspended")

    refused = {kind: number for kind, number in creations.items() if kind.code >= 400}
    assert sum(refused.values()) in {1, 2}, refused  # two at once, when the first was let in
    again = audit.count(**here, verb="create", resource="pods").total() - creations.total()
    assert again <= obstacle.asked_again, again
    assert audit.count(**here).total() < 20, audit.count(**here)


@pytest.fixture
async def namespaces(api_server: ApiServerUnderTest) -> AsyncIterator[dict[str, Api]]:
    """Create a namespace for each obstacle."""
    async with contextlib.AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(Api(api_server, f"test-{uuid4().hex[:8]}"))
            for name in OBSTACLES
        }


async def test_a_job_starts_once_its_pods_are_admitted(
    operator: OperatorProcess, stage: Stage, namespaces: dict[str, Api]
) -> None:
    for name, api in namespaces.items():
        await stage(api, OBSTACLES[name])
        await api.apply(blocked_job(api, OBSTACLES[name]))
    for name, api in namespaces.items():
        await wait_for_refusal(api, OBSTACLES[name])

    for name, api in namespaces.items():
        await OBSTACLES[name].mend(api)

    for api in namespaces.values():
        for pod in await api.wait_for_pods("blocked", 3, patience_s=TRIED_AGAIN_AFTER_S + 20):
            await api.start_pod(pod)
        status = await api.wait_for_phase("blocked", "Running")
        assert status["attempt"] == 0
        assert condition(status, "PodsReady")["reason"] == "PodsReady"


async def test_a_job_waits_only_briefly_for_a_service_account_created_after_it(
    operator: OperatorProcess, api: Api
) -> None:
    """Such as the default account of a namespace created with the job in one `kubectl apply`."""
    obstacle = OBSTACLES["no service account"]
    await api.apply(blocked_job(api, obstacle))
    await wait_for_refusal(api, obstacle)

    await create_account(api)

    await api.wait_for_pods("blocked", 3, patience_s=TRIED_AGAIN_AFTER_S / 3)


async def test_a_job_applied_together_with_its_namespace_starts(
    operator: OperatorProcess, api_server: ApiServerUnderTest, admin_kubectl: Kubectl
) -> None:
    name = f"test-{uuid4().hex[:8]}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    job = unscheduled(make_job("early", namespace=name))

    admin_kubectl(
        "apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": [namespace, job]}
    )

    async with ApiClient.from_kubeconfig(api_server.kubeconfig) as client:
        async with asyncio.timeout(TRIED_AGAIN_AFTER_S / 3):
            while not (await client.list(f"/api/v1/namespaces/{name}/pods"))[0]:
                await asyncio.sleep(0.05)
        await client.delete(f"/api/v1/namespaces/{name}")


async def test_fields_added_by_admission_do_not_recreate_a_pod(
    operator: OperatorProcess, api: Api
) -> None:
    await set_limits(api)
    await api.apply(unscheduled(make_job("limited", nodes=2)))

    pods = await api.wait_for_pods("limited", 2)
    for pod in pods:
        resources = pod["spec"]["containers"][0]["resources"]
        assert resources["limits"] == {"memory": "512Mi"}
        await api.start_pod(pod)
    await api.wait_for_phase("limited", "Running")
    assert [p["metadata"]["uid"] for p in await api.pods("limited")] == [
        p["metadata"]["uid"] for p in pods
    ]
