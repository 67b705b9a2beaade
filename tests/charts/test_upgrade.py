"""An upgrade from the last release, with that release's program: jobs keep running, and no record is lost.

Until there is a tag, an older commit is used as the last release.
"""

from pathlib import Path

import pytest

from hack.chart import CHART
from hack.release.source import ReleaseError, Source, export, last_tag
from tests.charts.test_release import (
    CONSOLE,
    FIRST_POD_WITHIN_S,
    READY,
    RECORDS,
    RELEASE,
    finish,
    list_records,
    token,
    wait_until_stored,
)
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.real.release import Cluster
from trainingjob_api import crd

pytestmark = pytest.mark.real_only

WITHOUT_A_TAG = "HEAD~40"
TAG = "before"


@pytest.fixture
def before(tmp_path: Path) -> Source:
    revision = last_tag() or WITHOUT_A_TAG
    try:
        return export(tmp_path / "before", revision)
    except ReleaseError as error:  # a shallow clone, or an archive
        pytest.skip(f"an upgrade begins with {revision}, which is not here: {error}")


async def test_an_upgrade_takes_over_running_jobs_and_keeps_records_and_token(
    cluster_for_kubectl: Cluster, tmp_path: Path, before: Source
) -> None:
    cluster = cluster_for_kubectl
    server = ApiServerUnderTest(cluster.plane.kubeconfig, plane=cluster.plane)
    old = {"image": {"tag": TAG}}
    chart = before.tree / "charts" / CHART.name
    with cluster.node(tmp_path / "node", {TAG: before.tree}) as node:
        cluster.helm("install", RELEASE, chart, *READY, values=old)
        bearer = token(cluster)
        async with Api(server, cluster.namespace.replace("system", "jobs")) as api:
            await finish(api, "stored")
            await wait_until_stored(api, "stored")
            await api.apply(make_job("running"))
            [pod] = await api.wait_for_pods("running", 1, patience_s=FIRST_POD_WITHIN_S)
            await api.start_pod(pod)
            await api.wait_for_phase("running", "Running")

            cluster.helm("upgrade", RELEASE, CHART, *READY, "--reset-values")

            deployments = cluster.get("deployments", "-n", cluster.namespace)["items"]
            names = {each["metadata"]["name"] for each in deployments}
            assert names == {RELEASE, RECORDS, CONSOLE}
            for each in deployments:
                assert TAG not in each["spec"]["template"]["spec"]["containers"][0]["image"]
            for made in (crd.training_job_crd(), crd.retention_policy_crd()):
                served = cluster.get("crd", made["metadata"]["name"])["spec"]["versions"]
                assert served[0]["schema"] == made["spec"]["versions"][0]["schema"]

            [still] = await api.pods("running")
            assert still["metadata"]["uid"] == pod["metadata"]["uid"]
            await api.finish_pod(still)
            await api.wait_for_phase("running", "Succeeded")
            await wait_until_stored(api, "running")
            assert (await api.job("running"))["status"].get("restarts", 0) == 0
            await finish(api, "after")
            await wait_until_stored(api, "after")
            assert token(cluster) == bearer
            # A version without the console may have created the Secret: the console's token is added to it.
            for each in (bearer, token(cluster, "read-token")):
                assert await list_records(node, each) == (200, ["after", "running", "stored"])
            assert "Traceback" not in node.log(RELEASE)
