"""Commands that do an operator's work: they hold its Lease, or say who does and do nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import ANY

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_operator.clock import ClockSinceBoot
from trainingjob_operator.commands import handover
from trainingjob_operator.commands.command_lease import holding_lease
from trainingjob_operator.commands.gc import collect
from trainingjob_operator.commands.release_finalizers import release
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.leadership import Leadership
from trainingjob_operator.runtime import leadership_from
from trainingjob_operator.settings import Settings

pytestmark = pytest.mark.sandbox_only

LEASE = "/apis/coordination.k8s.io/v1/namespaces/ml/leases/trainingjob-operator"
QUICK = {
    "TRAININGJOB_LEADER_ELECTION__LEASE_DURATION": "3",
    "TRAININGJOB_LEADER_ELECTION__RENEW_DEADLINE": "2",
    "TRAININGJOB_LEADER_ELECTION__RETRY_PERIOD": "0.5",
    "TRAININGJOB_OPERATOR_NAMESPACE": "ml",
}


def settings(*, elects: bool = True, **more: str) -> Settings:
    """The settings of an install; without `elects` those of a clone beside it."""
    elected = {"TRAININGJOB_LEADER_ELECTION__ENABLED": str(elects).lower()}
    return Settings.from_environment(QUICK | elected | more)


@asynccontextmanager
async def leader(api: Api, serves: str = "") -> AsyncIterator[Leadership]:
    """An operator's part in the election; it holds the Lease."""
    connection = await connect(str(api.server.kubeconfig))
    leads = leadership_from(settings(TRAININGJOB_NAMESPACES=serves), connection)
    leads.start()
    try:
        async with asyncio.timeout(30):
            await leads.wait_until_acquired()
        yield leads
    finally:
        await leads.stop()


async def collected(api: Api, *, dry_run: bool = False, elects: bool = True) -> bool:
    return await collect(
        settings(elects=elects),
        kubeconfig=str(api.server.kubeconfig),
        context=None,
        dry_run=dry_run,
        output="json",
    )


async def released(api: Api, **options: Any) -> bool:
    path = str(api.server.kubeconfig)
    return await release(
        settings(), kubeconfig=path, context=None, **({"discard": False} | options)
    )


@pytest.mark.parametrize("elects", [True, False])
async def test_beside_an_operator_nothing_is_done_and_it_is_named(
    own_api: Api, capsys: pytest.CaptureFixture[str], *, elects: bool
) -> None:
    job = make_job("held")
    job["metadata"]["finalizers"] = [FINALIZER_RECORD]
    await own_api.apply(job)
    async with leader(own_api) as operator:
        assert not await collected(own_api, elects=elects)
        assert not await released(own_api)
        said = capsys.readouterr().err
        assert said.count(f"{operator.state.identity} works: it holds the Lease ml/") == 2
        assert "scale deployment/trainingjob-operator --replicas=0" in said
        assert (await own_api.job("held"))["metadata"]["finalizers"] == [FINALIZER_RECORD]
        await collected(own_api, dry_run=True)
        assert "works: it holds" not in capsys.readouterr().err
        assert operator.leads
    # It has stopped, and given the Lease back.
    assert await released(own_api)
    assert not (await own_api.job("held"))["metadata"].get("finalizers")


async def test_a_dead_holder_is_waited_for_and_the_lease_given_back(own_api: Api) -> None:
    async with leader(own_api):
        dead = (await own_api.client.get(LEASE))["spec"]
    await own_api.client.patch(LEASE, {"spec": dead})
    connection = await connect(str(own_api.server.kubeconfig))
    async with holding_lease(settings(), connection, command="gc") as may_write:
        assert may_write is not None
        assert may_write()
        held = await own_api.client.get(LEASE)
        assert held["spec"]["holderIdentity"].startswith("gc@")
        assert held["metadata"]["annotations"] == {"trainingjob.dev/namespaces": ""}
        assert not await released(own_api), "two commands work at once"
    assert (await own_api.client.get(LEASE))["spec"]["holderIdentity"] == ""


async def test_an_operator_that_takes_the_lease_of_a_dead_one_meanwhile_is_named(
    own_api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    async with leader(own_api):
        dead = (await own_api.client.get(LEASE))["spec"]
    await own_api.client.patch(LEASE, {"spec": dead})
    connection = await connect(str(own_api.server.kubeconfig))
    standby = leadership_from(settings(), connection)
    standby.start()
    async with asyncio.timeout(30):
        # The command looks at the dead one's Lease later than the standby did.
        while standby.state.free_in_s(ClockSinceBoot().monotonic()) > 2.0:
            await asyncio.sleep(0.05)
        assert not await released(own_api)
        assert standby.leads
    assert f"{standby.state.identity} works: it holds" in capsys.readouterr().err
    await standby.stop()


async def test_a_lease_that_is_not_there_is_made_where_the_operator_asks_for_one(
    own_api: Api,
) -> None:
    await collected(own_api, elects=False)
    assert await own_api.client.list(LEASE.rpartition("/")[0]) == ([], ANY)
    await collected(own_api)
    assert (await own_api.client.get(LEASE))["spec"]["holderIdentity"] == ""


async def test_namespaces_are_left_only_when_the_operator_that_stays_serves_them_no_longer(
    own_api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leader(own_api, "ml,other"):
        assert await released(own_api, only=["third"])
        with monkeypatch.context() as impatient:
            impatient.setattr(handover, "HANDOVER_PATIENCE_S", 0.0)
            for options in ({"only": ["ml", "third"]}, {"spared": ["ml"]}):
                assert not await released(own_api, **options)
                assert "still serves ml,other, and would hold again" in capsys.readouterr().err
        assert await released(own_api, spared=["ml", "other"])
        waits = asyncio.create_task(released(own_api, only=["ml"]))
        async with asyncio.timeout(30):
            while "waiting until it is replaced" not in capsys.readouterr().err:
                await asyncio.sleep(0.05)
        assert not waits.done()
    async with leader(own_api, "other"):
        assert await waits
