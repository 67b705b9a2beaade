"""Commands that do an operator's work acquire its Lease, or name its holder and do nothing."""

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
from trainingjob_operator.commands import namespace_handover
from trainingjob_operator.commands.command_lease import holding_lease
from trainingjob_operator.commands.gc import collect
from trainingjob_operator.commands.release_finalizers import release
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.deployments import DeploymentGateway
from trainingjob_operator.leadership import Leadership
from trainingjob_operator.runtime import leadership_from
from trainingjob_operator.settings import Settings

pytestmark = pytest.mark.sandbox_only

LEASE = "/apis/coordination.k8s.io/v1/namespaces/ml/leases/trainingjob-operator"
QUICK = {
    "TRAININGJOB_LEADER_ELECTION__LEASE_DURATION": "5",
    "TRAININGJOB_LEADER_ELECTION__RENEW_DEADLINE": "4",
    "TRAININGJOB_LEADER_ELECTION__RETRY_PERIOD": "0.5",
    "TRAININGJOB_OPERATOR_NAMESPACE": "ml",
}
"""The deadline is for a stall of the machine: who misses it ends its process, and that is the tests'."""


def settings(*, elects: bool = True, **more: str) -> Settings:
    """The settings of an install; without `elects` those of a clone beside it."""
    elected = {"TRAININGJOB_LEADER_ELECTION__ENABLED": str(elects).lower()}
    return Settings.from_environment(QUICK | elected | more)


@asynccontextmanager
async def leader(
    api: Api, serves: str = "", lease: str = "trainingjob-operator"
) -> AsyncIterator[Leadership]:
    """An operator's part in the election; it holds the Lease."""
    connection = await connect(str(api.server.kubeconfig))
    leads = leadership_from(
        settings(TRAININGJOB_NAMESPACES=serves, TRAININGJOB_LEADER_ELECTION__LEASE_NAME=lease),
        connection,
    )
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
async def test_while_an_operator_holds_the_lease_the_command_names_it_and_does_nothing(
    own_api: Api, capsys: pytest.CaptureFixture[str], *, elects: bool
) -> None:
    job = make_job("held")
    job["metadata"]["finalizers"] = [FINALIZER_RECORD]
    await own_api.apply(job)
    async with leader(own_api) as operator:
        assert not await collected(own_api, elects=elects)
        assert not await released(own_api)
        said = capsys.readouterr().err
        assert said.count(f"{operator.state.identity} is active: it holds the Lease ml/") == 2
        assert "scale deployment/trainingjob-operator --replicas=0" in said
        assert (await own_api.job("held"))["metadata"]["finalizers"] == [FINALIZER_RECORD]
        await collected(own_api, dry_run=True)
        assert "is active: it holds" not in capsys.readouterr().err
        assert operator.leads
    # It has stopped and released the Lease.
    assert await released(own_api)
    assert not (await own_api.job("held"))["metadata"].get("finalizers")


async def test_the_command_waits_for_an_expired_lease_and_releases_it_afterwards(
    own_api: Api,
) -> None:
    async with leader(own_api):
        dead = (await own_api.client.get(LEASE))["spec"]
    await own_api.client.patch(LEASE, {"spec": dead})
    connection = await connect(str(own_api.server.kubeconfig))
    async with holding_lease(settings(), connection, command="gc", say=print) as may_write:
        assert may_write is not None
        assert may_write()
        held = await own_api.client.get(LEASE)
        assert held["spec"]["holderIdentity"].startswith("gc@")
        assert held["metadata"]["annotations"] == {"trainingjob.dev/namespaces": ""}
        assert not await released(own_api), "two commands work at once"
    assert (await own_api.client.get(LEASE))["spec"]["holderIdentity"] == ""


async def test_an_operator_that_acquires_the_expired_lease_first_is_named(
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
    assert f"{standby.state.identity} is active: it holds" in capsys.readouterr().err
    await standby.stop()


async def test_a_missing_lease_is_created_if_leader_election_is_on(
    own_api: Api,
) -> None:
    await collected(own_api, elects=False)
    assert await own_api.client.list(LEASE.rpartition("/")[0]) == ([], ANY)
    await collected(own_api)
    assert (await own_api.client.get(LEASE))["spec"]["holderIdentity"] == ""


async def test_without_settings_a_missing_lease_is_named(
    own_api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scale_to_zero(*_: object, **__: object) -> bool:
        return True  # the sandbox serves no Deployments

    monkeypatch.setattr(DeploymentGateway, "scale_to_zero", scale_to_zero)
    path = str(own_api.server.kubeconfig)
    clone = Settings.from_environment({})
    of_cluster: dict[str, Any] = {"kubeconfig": path, "context": None}

    async def says(given: Settings, **options: Any) -> str:
        await release(given, discard=False, **of_cluster, **options)
        return capsys.readouterr().err

    async with leader(own_api, "ml", lease="train") as operator:
        # The chart gives Deployment and Lease one name, so that --stop names both.
        said = await says(clone, deployment="ml/train")
        assert f"{operator.state.identity} is active: it holds the Lease ml/train" in said
        # The name in the settings takes precedence.
        named = Settings.from_environment(
            {
                "TRAININGJOB_LEADER_ELECTION__LEASE_NAME": "other",
                "TRAININGJOB_OPERATOR_NAMESPACE": "x",
            }
        )
        missing = ": an operator may still be active. If one is, name its Lease by "
        assert f"there is no Lease x/other{missing}" in await says(named, deployment="ml/train")
        nowhere = f"there is no Lease default/trainingjob-operator{missing}"
        for options in ({}, {"only": ["ml"]}, {"spared": ["other"]}):
            assert (await says(clone, **options)).count(nowhere) == 1
            # A setting that disables leader election is respected.
            assert "there is no Lease" not in await says(settings(elects=False), **options)
        await collect(clone, dry_run=False, output="json", **of_cluster)
        assert capsys.readouterr().err.count(nowhere) == 1
        await collect(clone, dry_run=True, output="json", **of_cluster)
        assert "there is no Lease" not in capsys.readouterr().err


async def test_namespaces_are_released_only_when_the_remaining_operator_no_longer_serves_them(
    own_api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leader(own_api, "ml,other"):
        assert await released(own_api, only=["third"])
        with monkeypatch.context() as impatient:
            impatient.setattr(namespace_handover, "HANDOVER_TIMEOUT_S", 0.0)
            for options in ({"only": ["ml", "third"]}, {"spared": ["ml"]}):
                assert not await released(own_api, **options)
                assert (
                    "still serves ml,other, and would add released finalizers again"
                    in capsys.readouterr().err
                )
        assert await released(own_api, spared=["ml", "other"])
        waits = asyncio.create_task(released(own_api, only=["ml"]))
        async with asyncio.timeout(30):
            while "waiting until it is replaced" not in capsys.readouterr().err:
                await asyncio.sleep(0.05)
        assert not waits.done()
    async with leader(own_api, "other"):
        assert await waits
