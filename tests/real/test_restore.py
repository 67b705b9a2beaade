"""etcd restored from a snapshot: the operator follows the restored state."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster.control_plane import ControlPlane, Options
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.real.account import with_operator_account
from tests.support.real.real_cluster import install_crds, new_control_plane

pytestmark = pytest.mark.real_only


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerUnderTest]:
    """Start a control plane for this module, whose etcd is restored from a snapshot."""
    folder = tmp_path_factory.mktemp("restore")
    with new_control_plane(folder / "state", Options(scheduler=False)) as plane:
        install_crds(plane.kubeconfig)
        with with_operator_account(plane, folder, restarts=True) as server:
            yield server


def stopped_copy(plane: ControlPlane, source: Path, target: Path) -> None:
    """Copy etcd's data while neither etcd nor the API server runs."""
    plane.stop_api_server()
    plane.stop_etcd()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    plane.start_etcd()
    plane.start_api_server()


async def test_a_job_that_was_running_is_followed_to_its_end_after_a_restore_of_etcd(
    plane: ControlPlane, api: Api, tmp_path: Path
) -> None:
    data, backup = plane.root / "etcd", tmp_path / "backup"
    with OperatorProcess(
        api.server.operator_kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_RECONCILER__RESYNC_INTERVAL="1h",
    ) as operator:
        operator.wait_until_ready()
        await api.apply(unscheduled(make_job("mnist", backoff_limit=0)))
        [pod] = await api.wait_for_pods("mnist", 1)
        await api.start_pod(pod)
        await api.wait_for_phase("mnist", "Running")
        stopped_copy(plane, data, backup)
        await api.reconnect()
        await api.finish_pod(pod)
        await api.wait_for_phase("mnist", "Succeeded", patience_s=60)
        for number in range(500):  # versions that the restored cluster does not reach soon
            await api.patch_job("mnist", {"metadata": {"labels": {"try": str(number)}}})

        stopped_copy(plane, backup, data)
        await api.reconnect()

        assert (await api.job("mnist"))["status"]["phase"] == "Running"
        await api.finish_pod(pod, 3)
        status = await api.wait_for_phase("mnist", "Failed", patience_s=60)
        assert status["exitCode"] == 3
        assert "restarting: " in operator.log()
