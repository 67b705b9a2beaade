"""The operator with exactly the rights that the chart gives it, on a cluster that enforces them.

Its requests are read from the API server's audit log, so that unused rights are found as well as
missing ones.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.charts.test_rights import FOR_KOPF, FOR_THE_POLICY, IN_NAMESPACES
from tests.support.apiserver.api import PATIENCE_S, Api, ApiServerUnderTest, Object, condition
from tests.support.apiserver.audit import whole_lines
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from tests.support.real.chart import (
    Values,
    account_kubeconfig,
    environment,
    forget_cluster_objects,
    render,
)
from tests.support.real.real_cluster import install_crds, kubectl
from tests.support.records.http_endpoint import HttpEndpoint
from trainingjob_api.errors import ForbiddenError
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway

pytestmark = pytest.mark.real_only

POLICY = ("trainingjob.dev/retentionpolicies", "trainingjob.dev/retentionpolicies/status")

OF_ITS_LEASE = {("coordination.k8s.io/leases", verb) for verb in ("get", "update")}
"""Granted for one resource name only; see test_rights.py."""

NEVER_ASKED = {("trainingjob.dev/trainingjobs/finalizers", "update")}
"""Checked at the admission of other requests; the operator itself sends no such request."""


SHORT_OF_MEMORY = {
    "TRAININGJOB_MEMORY__PRESSURE_PERCENT": "1",
    "TRAININGJOB_MEMORY__RESUME_PERCENT": "0",
}
"""Any machine uses more than one percent of its memory."""


@pytest.fixture
def account_namespace(strict_plane: ControlPlane) -> Iterator[str]:
    """Create the CRDs and a namespace for the operator's account; delete both at the end."""
    install_crds(strict_plane.kubeconfig)
    name = f"operator-{uuid4().hex[:8]}"
    kubectl(strict_plane.kubeconfig, "create", "namespace", name)
    yield name
    kubectl(strict_plane.kubeconfig, "delete", "namespace", name)
    forget_cluster_objects(strict_plane.kubeconfig)


def requests_of(
    plane: ControlPlane, namespace: str, account: str = "trainingjob-operator"
) -> list[Object]:
    """Return an account's requests for objects, from the audit log."""
    user = f"system:serviceaccount:{namespace}:{account}"
    # A request with an unknown token has no user name.
    return [
        line
        for line in whole_lines(plane.audit_log)
        if line["user"].get("username") == user and "objectRef" in line
    ]


def asked(request: Object) -> tuple[str, str]:
    """Return `group/resource`, as in the table of rights, and the verb."""
    ref = request["objectRef"]
    parts = [ref.get("apiGroup", ""), ref["resource"], ref.get("subresource", "")]
    return "/".join(parts).rstrip("/"), request["verb"]


def refused(requests: list[Object]) -> list[Object]:
    """Return the requests that RBAC denied; admission also responds with 403."""
    decision = "authorization.k8s.io/decision"
    return [each for each in requests if each.get("annotations", {}).get(decision) == "forbid"]


async def use_everything(api: Api) -> None:
    """Make the operator send each kind of request that it can."""
    # A restart deletes pods and creates an event; a job of two ranks needs a Service.
    await api.apply(make_job("pair", nodes=2))
    first, second = await api.wait_for_pods("pair", 2)
    await api.start_pod(second)
    await api.finish_pod(first, code=1)
    for pod in await api.wait_for_pods("pair", 2, attempt=1):
        await api.finish_pod(pod)
    await api.wait_for_phase("pair", "Succeeded")
    assert await api.events("pair")

    # If an object of another owner has the name, the operator reads it.
    for name, nodes, kind in (("pod-taken", 1, "Pod"), ("service-taken", 2, "Service")):
        made = await api.apply(make_job(name, nodes=nodes, suspend=True))
        await api.wait_for_phase(name, "Suspended")
        prefix = f"{name}-{made['metadata']['uid'][:8]}"
        await squat(api, kind, f"{prefix}-0-0" if kind == "Pod" else prefix)
        await api.patch_job(name, {"spec": {"suspend": False}})
        status = await api.wait_for_job(
            name, lambda s: condition(s, "PodsReady").get("reason", "").endswith("NameConflict")
        )
        assert condition(status, "PodsReady")["reason"] == f"{kind}NameConflict"

    # The pod is rejected as invalid, so the operator validates its template with a separate request.
    invalid = make_job("invalid")
    mount = {"name": "no-such-volume", "mountPath": "/data"}
    invalid["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [mount]
    await api.apply(invalid)
    await api.wait_for_phase("invalid", "Failed")

    # Their records are pending; once these are stored, the jobs' finalizers are released.
    for name in ("pair", "pod-taken", "service-taken"):
        await api.delete_job(name)
    async with asyncio.timeout(PATIENCE_S):
        for name in ("pair", "pod-taken", "service-taken"):
            while not await api.job_is_gone(name):
                await asyncio.sleep(0.05)


async def run_retention(api: Api, home: str) -> None:
    """Let retention delete an expired job, and report the result.

    The operator is configured so that any use of memory is memory pressure, which it reports, too.
    """
    await api.apply(make_job("over", ttlSecondsAfterFinished=0))
    [pod] = await api.wait_for_pods("over", 1)
    await api.finish_pod(pod)
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{home}/retentionpolicies/default"
    async with asyncio.timeout(PATIENCE_S):
        while not await api.job_is_gone("over"):
            await asyncio.sleep(0.05)
        while not (await api.client.get(path)).get("status", {}).get("lastSweepTime"):
            await asyncio.sleep(0.05)
        while not await told_of_memory(api, home):
            await asyncio.sleep(0.05)


async def told_of_memory(api: Api, home: str) -> bool:
    found, _ = await api.client.list(f"/api/v1/namespaces/{home}/events")
    return any(event["reason"] == "MemoryPressure" for event in found)


async def squat(api: Api, kind: str, name: str) -> None:
    spec: Object = (
        {"containers": [{"name": "main", "image": "example/image:1"}]}
        if kind == "Pod"
        else {"ports": [{"port": 80}]}
    )
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/{kind.lower()}s", body)


async def forget_policy(api: Api, home: str) -> None:
    """Remove the policy's finalizer, since no operator runs that would release it and its namespace."""
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{home}/retentionpolicies/default"
    await api.client.patch(path, {"metadata": {"finalizers": None}})


async def test_the_operator_uses_all_of_its_rights_and_needs_no_others(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    kubeconfig = account_kubeconfig(
        strict_plane, tmp_path / "account", namespace=account_namespace
    )
    server = ApiServerUnderTest(strict_plane.kubeconfig, plane=strict_plane)
    async with Api(server, f"test-{uuid4().hex[:8]}") as api:
        with (
            HttpEndpoint() as ledger,
            OperatorProcess(
                kubeconfig,
                tmp_path / "log",
                TRAININGJOB_PERSIST__URL=ledger.url,
                TRAININGJOB_GC__INTERVAL="1",
                TRAININGJOB_LEADER_ELECTION__ENABLED="true",
                **SHORT_OF_MEMORY,
            ) as operator,
        ):
            operator.wait_until_ready()
            await use_everything(api)
            await run_retention(api, account_namespace)
            assert "ermission" not in operator.log()
            operator.terminate()  # on exit it releases its Lease, which it may not have renewed yet
        await forget_policy(api, account_namespace)

    requests = requests_of(strict_plane, account_namespace)
    assert refused(requests) == []
    granted = {(what, verb) for what, verbs in IN_NAMESPACES.items() for verb in verbs}
    definitions = "apiextensions.k8s.io/customresourcedefinitions"
    granted |= {(definitions, "list"), (definitions, "watch")}
    granted |= {(what, verb) for what, verbs in FOR_THE_POLICY.items() for verb in verbs}
    assert {asked(request) for request in requests} == granted - NEVER_ASKED | OF_ITS_LEASE


async def test_an_operator_with_watch_namespaces_sends_no_requests_outside_them(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    server = ApiServerUnderTest(strict_plane.kubeconfig, plane=strict_plane)
    async with Api(server, f"test-{uuid4().hex[:8]}") as api:
        values: Values = {"watchNamespaces": [api.namespace]}
        kubeconfig = account_kubeconfig(
            strict_plane, tmp_path / "account", values, namespace=account_namespace
        )
        named = environment(render(values))["TRAININGJOB_NAMESPACES"]
        with (
            HttpEndpoint() as ledger,
            OperatorProcess(
                kubeconfig,
                tmp_path / "log",
                TRAININGJOB_NAMESPACES=named,
                TRAININGJOB_PERSIST__URL=ledger.url,
                TRAININGJOB_GC__INTERVAL="1",
                TRAININGJOB_LEADER_ELECTION__ENABLED="true",
                **SHORT_OF_MEMORY,
            ) as operator,
        ):
            operator.wait_until_ready()
            await use_everything(api)
            await run_retention(api, account_namespace)
            assert "ermission" not in operator.log()
            operator.terminate()  # as above
        await forget_policy(api, account_namespace)

    requests = requests_of(strict_plane, account_namespace)
    assert refused(requests) == []
    asked_in: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for request in requests:
        asked_in[request["objectRef"].get("namespace", "")].add(asked(request))
    assert set(asked_in) == {api.namespace, account_namespace}
    granted = {(what, verb) for what, verbs in IN_NAMESPACES.items() for verb in verbs}
    # The policy that the sweep updates is the default one, in another namespace.
    not_here = {(what, verb) for what in POLICY for verb in ("get", "patch")}
    assert asked_in[api.namespace] == granted - NEVER_ASKED - not_here
    at_home = {(what, verb) for what, verbs in FOR_KOPF.items() for verb in verbs}
    assert asked_in[account_namespace] == at_home | OF_ITS_LEASE


async def test_an_operator_with_a_volume_reads_only_its_own_namespace_object(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    """The namespace's uid identifies the volume's owner."""
    values: Values = {"logVolume": {"existingClaim": "logs"}}
    kubeconfig = account_kubeconfig(
        strict_plane, tmp_path / "account", values, namespace=account_namespace
    )
    async with Gateway(await connect(str(kubeconfig)), timeout_s=PATIENCE_S) as gateway:
        raw = await gateway.get_namespace(account_namespace)
        assert raw is not None
        assert raw["metadata"]["uid"]
        with pytest.raises(ForbiddenError):
            await gateway.get_namespace("kube-system")
