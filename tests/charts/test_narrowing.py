"""An upgrade removes namespaces from `watchNamespaces`: finalizers there are released.

Only the quick tests use Helm 3 and 4, to show that both look up the cluster in the same way.
"""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from hack.chart import CHART
from tests.charts.test_account import refused, requests_of
from tests.charts.test_release import scale
from tests.charts.test_rights import UNINSTALL as RIGHTS
from tests.charts.test_rights import granted
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.real.chart import Object, RenderError, Values, component, one, run_helm
from tests.support.real.release import Cluster
from trainingjob_api.constants import FINALIZER_RECORD

pytestmark = pytest.mark.real_only

RELEASE = "trainingjob-operator"
NARROWED = f"{RELEASE}-narrowed"
READY = ("--wait", "--timeout=120s")


def upgrade(cluster: Cluster, namespaces: list[str], *extra: str) -> str:
    values = {"watchNamespaces": namespaces}
    return cluster.helm("upgrade", RELEASE, CHART, *extra, values=values)


def planned(cluster: Cluster, values: Values) -> tuple[list[Object], str]:
    """Return the objects with which an upgrade with these values would release finalizers, and its notes."""
    said = cluster.helm("upgrade", RELEASE, CHART, "--dry-run=server", values=values)
    text, _, notes = said.partition("HOOKS:")[2].partition("MANIFEST:")
    hooks = [found for found in yaml.safe_load_all(text) if found]
    return [found for found in hooks if component(found) == "narrowing"], notes


def would_free(cluster: Cluster, values: Values) -> list[Object]:
    return planned(cluster, values)[0]


def arguments(objects: list[Object]) -> list[str]:
    job = one(objects, "Job", NARROWED, part="narrowing")
    return list(job["spec"]["template"]["spec"]["containers"][0]["args"])


async def held(api: Api, name: str) -> None:
    """Create a job, and wait until it has the operator's finalizer."""
    await api.apply(make_job(name))
    async with asyncio.timeout(120):
        while FINALIZER_RECORD not in await finalizers(api, name):
            await asyncio.sleep(0.1)


def has_had_pods(status: Object) -> bool:
    return status.get("launchedAttempt") == 0


async def finalizers(api: Api, name: str) -> list[str]:
    return list((await api.job(name))["metadata"].get("finalizers") or [])


def asked_by_the_job(cluster: Cluster) -> list[Object]:
    return requests_of(cluster.plane, cluster.namespace, NARROWED)


async def test_the_upgrade_releases_finalizers_in_removed_namespaces(
    cluster_for_kubectl: Cluster, tmp_path: Path
) -> None:
    cluster = cluster_for_kubectl
    server = ApiServerUnderTest(cluster.plane.kubeconfig, plane=cluster.plane)
    mark = uuid4().hex[:8]
    kept, alive, going, other = (f"{word}-{mark}" for word in ("kept", "alive", "going", "other"))
    with cluster.node(tmp_path) as node:
        cluster.install(None, *READY)
        async with (
            Api(server, kept) as in_kept,
            Api(server, alive) as in_alive,
            Api(server, going) as in_going,
            Api(server, other) as in_other,
        ):
            for api in (in_kept, in_alive, in_going, in_other):
                await held(api, "job")
                # A job that never had pods needs no record.
                await api.wait_for_job("job", has_had_pods, patience_s=120)

            # From all namespaces to two of them.
            await asyncio.to_thread(upgrade, cluster, [kept, alive, going], *READY)
            assert await finalizers(in_other, "job") == []
            for api in (in_kept, in_alive, in_going):
                assert await finalizers(api, "job") == [FINALIZER_RECORD]

            # To fewer, while a namespace is terminating: the operator's rights in it are deleted before the job.
            # It is stopped first: otherwise the operator might store the record itself.
            scale(cluster, RELEASE, 0)
            cluster.kubectl("delete", "namespace", going, "--wait=false")
            async with asyncio.timeout(60):
                while cluster.get("rolebindings", "-n", going)["items"]:
                    await asyncio.sleep(0.1)
                while "deletionTimestamp" not in (await in_going.job("job"))["metadata"]:
                    await asyncio.sleep(0.1)
            again = ("scale", f"deployment/{RELEASE}", "--replicas=1")
            cluster.kubectl("-n", cluster.namespace, *again)
            await asyncio.to_thread(upgrade, cluster, [kept], *READY)

            assert await finalizers(in_alive, "job") == []
            assert await finalizers(in_kept, "job") == [FINALIZER_RECORD]
            # The job that was being deleted is gone, and its record is stored.
            assert "stored 1 records, gave up 0" in node.log(NARROWED)
            await asyncio.to_thread(
                cluster.kubectl, "wait", "--for=delete", f"namespace/{going}", "--timeout=60s"
            )
            assert refused(asked_by_the_job(cluster)) == []
            rights = "clusterroles,clusterrolebindings,serviceaccounts,roles,rolebindings"
            selector = "-lapp.kubernetes.io/component=narrowing"
            assert cluster.get(rights, "-A", selector)["items"] == []
            assert would_free(cluster, {"watchNamespaces": [kept]}) == []


def test_the_next_upgrade_releases_what_an_upgrade_could_not_release(
    cluster_for_kubectl: Cluster,
) -> None:
    """No node runs the hook's Job."""
    cluster = cluster_for_kubectl
    both = [cluster.team, cluster.namespace]
    cluster.install({"watchNamespaces": both})
    narrow: Values = {"watchNamespaces": [cluster.namespace]}
    hooks = would_free(cluster, narrow)
    assert granted(one(hooks, "Role", NARROWED, part="narrowing")) == RIGHTS
    assert one(hooks, "Role", NARROWED, part="narrowing")["metadata"]["namespace"] == cluster.team
    lease = one(hooks, "Role", f"{NARROWED}-lease", part="narrowing")
    assert lease["metadata"]["namespace"] == cluster.namespace
    assert granted(lease) == {}
    assert granted(lease, of=RELEASE) == {"coordination.k8s.io/leases": {"get"}}
    assert not [found for found in hooks if found["kind"].startswith("Cluster")]

    with pytest.raises(RenderError, match="post-upgrade hook"):
        upgrade(cluster, [cluster.namespace], "--timeout=3s")

    hooks, notes = planned(cluster, narrow)
    assert arguments(hooks) == ["release-finalizers", "--only", cluster.team]
    assert f"The jobs of {cluster.team} are no longer served." in notes
    assert f"kubectl -n {cluster.namespace} logs job/{NARROWED}" in notes
    hooks, notes = planned(cluster, narrow | {"uninstall": {"releaseFinalizers": False}})
    assert (hooks, "no hook has released their jobs" in notes) == ([], True)
    # Nothing is released if the namespace is watched again, or no longer exists.
    assert would_free(cluster, {"watchNamespaces": both}) == []
    cluster.kubectl("delete", "namespace", cluster.team, "--timeout=60s")
    assert would_free(cluster, narrow) == []


def test_narrowing_from_all_namespaces_keeps_finalizers_in_the_watched_ones(
    cluster: Cluster,
) -> None:
    cluster.install()
    hooks = would_free(cluster, {"watchNamespaces": [cluster.team]})
    assert arguments(hooks) == ["release-finalizers", "--all-but", cluster.team]
    assert granted(one(hooks, "ClusterRole", part="narrowing")) == RIGHTS
    off = {"watchNamespaces": [cluster.team], "rbac": {"create": False}}
    assert would_free(cluster, off) == []


def test_an_upgrade_rendered_without_a_cluster_releases_nothing() -> None:
    values = {"watchNamespaces": ["team-a"]}
    text = run_helm(4, "template", RELEASE, CHART, "--is-upgrade", values=values)
    objects = [found for found in yaml.safe_load_all(text) if found]
    assert objects
    assert not [found for found in objects if component(found) == "narrowing"]
