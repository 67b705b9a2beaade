"""A running release with the chart's defaults: records persist, and an uninstall releases finalizers.

The pods run as processes of this machine, with the accounts, variables and files that the chart
gives them; see `tests.support.real.release_node`.
"""

import asyncio
import base64
import json
import re
import shlex
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import uuid4

import pytest

from hack.chart import CHART, NAMESPACE
from hack.generate import INSTALL, ROOT, UNINSTALL
from tests.charts.test_account import asked, refused, requests_of
from tests.charts.test_rights import UNINSTALL as RIGHTS_OF_UNINSTALL
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.real.real_cluster import kubectl
from tests.support.real.release import Cluster
from tests.support.real.release_node import ReleaseNode
from tests.support.records.service import Client
from tests.support.volume.volume import wait_until
from trainingjob_api.constants import FINALIZER_RECORD, FINALIZER_RETENTION

pytestmark = pytest.mark.real_only

RELEASE = "trainingjob-operator"
RECORDS = f"{RELEASE}-records"
CONSOLE = f"{RELEASE}-console"
UNINSTALL_NAME = f"{RELEASE}-uninstall"
RIGHTS_BESIDE_THE_OPERATOR = {
    "apps/deployments": {"get"},
    "apps/deployments/scale": {"patch"},
    "/pods": {"list"},
    "coordination.k8s.io/leases": {"get", "update"},
}
"""The right to create a Lease is used only if there is none."""

READY = ("--wait", "--timeout=90s")
NAMESPACE_GOES_WITHIN_S = 60.0
FIRST_POD_WITHIN_S = 120.0
"""This server's admission learns of a new owner kind only after half a minute, and rejects it until then."""


@asynccontextmanager
async def installed(cluster: Cluster, folder: Path) -> AsyncIterator[tuple[ReleaseNode, Api]]:
    """Install the chart with its defaults and wait until ready; yield its node, and a namespace for jobs."""
    server = ApiServerUnderTest(cluster.plane.kubeconfig, plane=cluster.plane)
    with cluster.node(folder) as node:
        cluster.install(None, *READY)
        async with Api(server, cluster.namespace.replace("system", "jobs")) as api:
            yield node, api


def token(cluster: Cluster, key: str = "token") -> str:
    data = cluster.get("secret", RECORDS, "-n", cluster.namespace)["data"]
    return base64.b64decode(data[key]).decode()


def scale(cluster: Cluster, deployment: str, replicas: int) -> None:
    where = ("-n", cluster.namespace)
    cluster.kubectl(*where, "scale", f"deployment/{deployment}", f"--replicas={replicas}")
    cluster.kubectl(*where, "rollout", "status", f"deployment/{deployment}", "--timeout=60s")
    if not replicas:  # the rollout is complete while the terminating pods still respond
        labels = cluster.get("deployment", deployment, *where)["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        cluster.kubectl(*where, "wait", "--for=delete", "pod", "-l", selector, "--timeout=60s")


async def finish(api: Api, name: str) -> str:
    """Complete a job, playing the kubelet; return its uid."""
    made = await api.apply(make_job(name))
    await api.finish_job(name, patience_s=FIRST_POD_WITHIN_S)
    await api.wait_for_phase(name, "Succeeded")
    return str(made["metadata"]["uid"])


async def wait_until_stored(api: Api, name: str) -> None:
    async with asyncio.timeout(90):  # a new token reaches the record service only after a moment
        while (await api.job(name))["status"].get("recordState") != "Stored":
            await asyncio.sleep(0.1)


async def list_records(node: ReleaseNode, bearer: str | None) -> tuple[int, list[str]]:
    """Return what the record service lists with this token."""
    async with Client(node.address(8090), token=bearer) as client:
        answer = await client.get("/api/v1/jobs")
        found = answer.json.get("items", [])
        return answer.status, sorted(item["name"] for item in found)


def with_finalizer(api: Api) -> dict[str, object]:
    """Return a policy with kopf's finalizer."""
    return {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {
            "name": "default",
            "namespace": api.namespace,
            "finalizers": [FINALIZER_RETENTION],
        },
        "spec": {},
    }


async def delete_namespace(cluster: Cluster, name: str) -> None:
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
    async with asyncio.timeout(NAMESPACE_GOES_WITHIN_S):
        while name in cluster.kubectl("get", "namespaces", "-o", "name"):
            await asyncio.sleep(0.2)


def requests_of_account(cluster: Cluster, account: str) -> set[tuple[str, str]]:
    """Return the requests of an account of the release; fails if any was forbidden."""
    requests = requests_of(cluster.plane, cluster.namespace, account)
    assert refused(requests) == []
    return {asked(request) for request in requests}


async def test_records_and_token_survive_an_upgrade_with_default_values(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with installed(cluster, tmp_path) as (node, api):
        first = token(cluster)
        assert len(first) > 40
        await finish(api, "before")
        await wait_until_stored(api, "before")
        assert await list_records(node, first) == (200, ["before"])
        assert await list_records(node, None) == (401, [])

        # The upgrade replaces all pods.
        values = {"logging": {"level": "debug"}}
        cluster.helm("upgrade", RELEASE, CHART, *READY, values=values)
        assert token(cluster) == first
        assert "is kept" in node.log(RECORDS)
        await finish(api, "after")
        await wait_until_stored(api, "after")
        assert await list_records(node, first) == (200, ["after", "before"])

        assert not [bad for bad in ("Traceback", first) if bad in node.log(RELEASE)]
        assert requests_of_account(cluster, RELEASE)
        assert requests_of_account(cluster, CONSOLE) == {
            ("trainingjob.dev/trainingjobs", verb) for verb in ("list", "watch")
        }
        readers = token(cluster, "read-token")
        assert readers != first
        assert await list_records(node, readers) == (200, ["after", "before"])
        every_line_of_the_notes_works(cluster, node, first, tmp_path)


def every_line_of_the_notes_works(
    cluster: Cluster, node: ReleaseNode, bearer: str, folder: Path
) -> None:
    """Run the commands of the NOTES, except the port-forward, which needs a kubelet."""
    notes = cluster.helm("get", "notes", RELEASE)
    lines = [line.strip() for line in notes.splitlines() if line.startswith("    ")]
    shown = [line for line in lines if line.startswith("kubectl") and "port-forward" not in line]
    assert len(shown) == 8, notes
    printed = [cluster.kubectl(*shlex.split(line.removesuffix(" --watch"))[1:]) for line in shown]
    check_job_viewer(cluster, printed[-1].strip(), folder / "job-viewer")
    [secret] = re.findall(r"\$\(kubectl (.*?) \| base64 -d\)", notes)
    assert base64.b64decode(cluster.kubectl(*shlex.split(secret))).decode() == bearer
    [test] = [line for line in lines if line.startswith("helm test")]
    said = cluster.helm(*shlex.split(test)[1:3], "--timeout=150s")
    assert "Succeeded" in said
    steps = node.log(f"{RELEASE}-smoke")
    assert "its record is stored, and was read" in steps
    assert steps.endswith("it works\n")
    assert requests_of_account(cluster, f"{RELEASE}-smoke") == {
        ("trainingjob.dev/trainingjobs", verb) for verb in ("create", "get", "delete")
    }
    ours = "-lapp.kubernetes.io/component=smoke"
    kinds = "pods,serviceaccounts,roles,rolebindings"
    assert cluster.get(kinds, "-n", cluster.namespace, ours)["items"] == []


def can_list_jobs(kubeconfig: Path) -> bool:
    try:
        kubectl(kubeconfig, "-n", "default", "get", "trainingjobs")
    except AssertionError as error:
        assert "cannot list" in str(error)  # noqa: PT017 - the only answer that can pass
        return False
    return True


def check_job_viewer(cluster: Cluster, bearer: str, kubeconfig: Path) -> None:
    """Check that the account of the NOTES sees only the jobs of its namespace, and delete it."""
    cluster.plane.authority.token_kubeconfig(kubeconfig, cluster.plane.server, bearer)
    # The API server applies a new right only after a moment.
    wait_until(lambda: can_list_jobs(kubeconfig), within_s=60)
    with pytest.raises(AssertionError, match=r"job-viewer\W+cannot list"):
        kubectl(kubeconfig, "-n", cluster.team, "get", "trainingjobs")
    for kind in ("rolebinding", "serviceaccount"):
        cluster.kubectl("-n", "default", "delete", kind, "job-viewer")


async def test_after_an_uninstall_no_finalizer_blocks_jobs_policies_or_namespaces(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with installed(cluster, tmp_path) as (node, api):
        await api.apply(make_job("running"))
        [pod] = await api.wait_for_pods("running", 1, patience_s=FIRST_POD_WITHIN_S)
        await api.start_pod(pod)
        await api.wait_for_phase("running", "Running")
        scale(cluster, RECORDS, 0)
        await finish(api, "unstored")
        await api.wait_for_job("unstored", lambda s: s.get("recordState") == "Pending")
        policy = json.dumps(with_finalizer(api))
        cluster.kubectl("create", "-f", "-", stdin=policy)
        for name in ("running", "unstored"):
            assert (await api.job(name))["metadata"]["finalizers"] == [FINALIZER_RECORD]

        cluster.helm("uninstall", RELEASE, "--timeout=150s")

        for name in ("running", "unstored"):
            assert not (await api.job(name))["metadata"].get("finalizers")
        said = node.log(UNINSTALL_NAME)
        assert "1 records could not be stored and stay pending in the status of their jobs" in said
        assert (await api.job("unstored"))["status"]["recordState"] == "Pending"
        assert "scaled to 0, and its pod is deleted" in said
        # Two jobs, and a policy with the finalizer of an earlier version.
        assert "released 3 objects; stored 0 records, gave up 0" in said
        ours = f"-lapp.kubernetes.io/instance={RELEASE}"
        for kinds in (
            "clusterroles,clusterrolebindings",
            "serviceaccounts,roles,rolebindings",
        ):
            assert cluster.get(kinds, "-n", cluster.namespace, ours)["items"] == []
        assert requests_of_account(cluster, UNINSTALL_NAME) == {
            (what, verb)
            for table in (RIGHTS_OF_UNINSTALL, RIGHTS_BESIDE_THE_OPERATOR)
            for what, verbs in table.items()
            for verb in verbs
        }
        assert requests_of_account(cluster, RECORDS) == {
            ("/secrets", "get"),
            ("/secrets", "patch"),
        }
        # Stored records are kept, and for a day also the Job whose log has the discarded ones.
        assert cluster.get("pvc", RECORDS, "-n", cluster.namespace)
        assert cluster.get("job", UNINSTALL_NAME, "-n", cluster.namespace)["status"]["succeeded"]

        await delete_namespace(cluster, api.namespace)
        await delete_namespace(cluster, cluster.namespace)


async def test_records_pending_at_an_uninstall_are_stored_and_available_to_the_next_install(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with installed(cluster, tmp_path) as (node, api):
        scale(cluster, RECORDS, 0)
        await finish(api, "late")
        await api.wait_for_job("late", lambda s: s.get("recordState") == "Pending")
        scale(cluster, RELEASE, 0)
        scale(cluster, RECORDS, 1)
        cluster.kubectl("-n", cluster.namespace, "delete", "lease", RELEASE)

        cluster.helm("uninstall", RELEASE, "--timeout=150s")

        assert "stored 1 records, gave up 0" in node.log(UNINSTALL_NAME)
        assert ("coordination.k8s.io/leases", "create") in requests_of_account(
            cluster, UNINSTALL_NAME
        )
        with closing(sqlite3.connect(node.claim(RECORDS) / "records.db")) as connection:
            assert connection.execute("SELECT name FROM records").fetchall() == [("late",)]

        # The retained claim is used again, with a new token.
        cluster.install(None, *READY)
        assert await list_records(node, token(cluster)) == (200, ["late"])


async def test_kubectl_installs_and_uninstalls_as_the_readme_says(
    cluster_for_kubectl: Cluster, tmp_path: Path
) -> None:
    cluster = cluster_for_kubectl
    cluster.namespace = NAMESPACE
    server = ApiServerUnderTest(cluster.plane.kubeconfig, plane=cluster.plane)
    install = ("apply", "-f", str(ROOT / "manifests" / "crds"), "-f", str(ROOT / INSTALL))
    uninstall, job = ("-f", str(ROOT / UNINSTALL)), f"job/{UNINSTALL_NAME}"
    cluster.kubectl(*install)
    with cluster.node(tmp_path) as node:
        for name in (RELEASE, RECORDS):
            where = ("-n", NAMESPACE, "--timeout=60s")
            cluster.kubectl("rollout", "status", f"deployment/{name}", *where)
        first = token(cluster)
        async with Api(server, f"jobs-{uuid4().hex[:8]}") as api:
            await finish(api, "done")
            await wait_until_stored(api, "done")
            cluster.kubectl(*install)
            assert token(cluster) == first
            await api.apply(make_job("running"))
            await api.wait_for_pods("running", 1, patience_s=FIRST_POD_WITHIN_S)

            cluster.kubectl("replace", "--force", *uninstall)
            complete = ("--for=condition=Complete", "--timeout=90s")
            cluster.kubectl("-n", NAMESPACE, "wait", *complete, job)
            assert "released 1 objects" in node.log(UNINSTALL_NAME)
            cluster.kubectl("delete", *uninstall)
            lasting = "app.kubernetes.io/component notin (namespace,records)"
            cluster.kubectl("delete", "-f", str(ROOT / INSTALL), "-l", lasting)

            assert not (await api.job("running"))["metadata"].get("finalizers")
            assert cluster.get("pvc", "-n", NAMESPACE)["items"]
            assert cluster.get("deployments,jobs,secrets", "-n", NAMESPACE)["items"] == []
            await delete_namespace(cluster, api.namespace)
        await delete_namespace(cluster, NAMESPACE)


async def test_an_uninstall_without_hooks_works_without_a_node(
    cluster: Cluster,
) -> None:
    # No node runs the Job of the hook.
    cluster.install()
    cluster.helm("uninstall", RELEASE, "--no-hooks")
    assert cluster.get("deployments", "-n", cluster.namespace)["items"] == []
    assert cluster.helm("list", "-q") == ""
