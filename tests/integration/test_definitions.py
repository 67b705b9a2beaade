"""CRDs that are deleted while the operator runs: deletion completes, and jobs run once they are re-created."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster.control_plane import Options
from tests.support.apiserver.api import Api, ApiServerUnderTest, sandbox_api_server
from tests.support.apiserver.crds import (
    apply_when_served,
    create_crds,
    delete_crds,
)
from tests.support.builders import make_job, unscheduled
from tests.support.markers import quick
from tests.support.processes.operator import OperatorProcess
from tests.support.real.account import with_operator_account
from tests.support.real.real_cluster import install_crds, new_control_plane
from tests.support.records.http_endpoint import HttpEndpoint

BACK_S = 15.0
STARTED_S = 60.0
"""A process needs long to start on a machine that has other work."""


@pytest.fixture(scope="module")
def api_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServerUnderTest]:
    """An API server of this module's own: definitions come and go, for all who use it."""
    folder = tmp_path_factory.mktemp("definitions")
    if request.config.getoption("--server") == "sandbox":
        with sandbox_api_server(folder) as server:
            yield server
        return
    with new_control_plane(folder / "state", Options(scheduler=False)) as plane:
        install_crds(plane.kubeconfig)
        with with_operator_account(plane, folder) as server:
            yield server


@pytest.mark.parametrize(
    "everywhere", quick([True, False], in_quick=[True]), ids=["all namespaces", "one namespace"]
)
async def test_deleted_crds_take_their_objects_along_and_jobs_run_once_crds_are_recreated(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, everywhere: bool
) -> None:
    settings = {} if everywhere else {"TRAININGJOB_NAMESPACES": api.namespace}
    with (
        HttpEndpoint() as ledger,
        OperatorProcess(
            api_server.operator_kubeconfig,
            tmp_path / "operator.log",
            TRAININGJOB_PERSIST__URL=ledger.url,
            **settings,
        ) as operator,
    ):
        operator.wait_until_ready()
        await api.apply(unscheduled(make_job("before")))
        await api.wait_for_pods("before", 1)  # by then it carries the finalizer of its record

        await delete_crds(api)

        async with asyncio.timeout(BACK_S):
            while "does not exist; apply manifests/crds" not in operator.probe("/readyz")[1]:
                await asyncio.sleep(0.05)
        assert operator.probe("/healthz") == (200, "ok\n")
        assert operator.is_running, operator.log()
        await create_crds(api)
        await apply_when_served(api, "after")
        await api.wait_for_pods("after", 1, patience_s=BACK_S)
        operator.wait_until_ready()
        await api.delete_job("after")  # or its finalizer holds the definition for the next test
        await api.wait_until_gone("after")
        code, _ = operator.terminate()
    assert code == 0


async def test_an_operator_that_starts_before_its_crds_waits_for_them(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    await delete_crds(api)
    with OperatorProcess(
        api_server.operator_kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_NAMESPACES=api.namespace,
    ) as operator:
        async with asyncio.timeout(STARTED_S):
            while "apply manifests/crds" not in operator.probe("/readyz")[1]:
                await asyncio.sleep(0.05)
        await create_crds(api)
        await apply_when_served(api, "after")
        await api.wait_for_pods("after", 1, patience_s=BACK_S)
        operator.wait_until_ready()
