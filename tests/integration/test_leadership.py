"""Leader election of two operators: the leader is killed, stopped, frozen or disconnected, and the other takes over."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.apiserver.fault_proxy import Fault, FaultProxy
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess, operator_of, stopped
from tests.support.processes.wrong_clock import OperatorWithWrongClock
from trainingjob_sandbox.client import ApiError

PATIENCE_S = 60.0
QUICK = {
    "TRAININGJOB_LEADER_ELECTION__LEASE_DURATION": "6",
    "TRAININGJOB_LEADER_ELECTION__RENEW_DEADLINE": "5",
    "TRAININGJOB_LEADER_ELECTION__RETRY_PERIOD": "0.5",
}


class Replica:
    """One of the operators, behind its own proxy that records its writes."""

    def __init__(self, proxy: FaultProxy, process: OperatorProcess) -> None:
        self.proxy = proxy
        self.process = process

    def writes(self) -> list[str]:
        """All of its writes, except those of the Lease."""
        return [
            str(seen) for seen in tuple(self.proxy.requests) if seen.writes and not _of_lease(seen)
        ]

    @property
    def leads(self) -> bool:
        """True if it says of itself that it works."""
        return self.process.probe("/metrics")[1].find("\ntrainingjob_operator_leader 1.0") >= 0

    @property
    def renewals(self) -> int:
        """The number of its writes of the Lease."""
        return self.proxy.count("create leases", "update leases")

    async def wait_until_it_leads(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.leads:
            assert time.monotonic() < deadline, self.process.log()
            assert self.process.is_running, self.process.log()
            await asyncio.sleep(0.05)


def _lease(api: Api) -> str:
    """The path of the Lease."""
    [context] = yaml.safe_load(api.server.operator_kubeconfig.read_text())["contexts"]
    namespace = context["context"].get("namespace", "default")
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/trainingjob-operator"


async def _no_lease(api: Api) -> None:
    """Delete the Lease of an earlier test, whose holder was killed."""
    try:
        await api.client.delete(_lease(api))
    except ApiError as refused:
        if not refused.not_found:
            raise


def _of_lease(seen: object) -> bool:
    return str(seen).endswith(" leases")


@asynccontextmanager
async def replicas(
    server: ApiServerUnderTest,
    api: Api,
    folder: Path,
    times: dict[str, str],
    ahead_s: Sequence[float] = (),
) -> AsyncIterator[list[Replica]]:
    """Two that want the Lease; the first one has it, the second one waits.

    Args:
        server: theirs.
        api: of the namespace that they work on.
        folder: for their logs.
        times: of the election.
        ahead_s: what their wall clocks are ahead by; none: they are right.
    """
    await _no_lease(api)
    with ExitStack() as stack:
        found = []
        settings = times | {"TRAININGJOB_LEADER_ELECTION__ENABLED": "true"}
        for number, name in enumerate(("first", "second")):
            (folder / name).mkdir()
            proxy = stack.enter_context(FaultProxy(server.operator_kubeconfig, folder / name))
            process = operator_of(proxy.kubeconfig, api, folder / name, **settings)
            if ahead_s:
                process = OperatorWithWrongClock.like(process, ahead_s[number])
            stack.enter_context(process)
            process.wait_until_ready()
            found.append(Replica(proxy, process))
            await found[0].wait_until_it_leads()
        yield found


async def _runs(api: Api, name: str) -> None:
    await api.apply(make_job(name))
    [pod] = await api.wait_for_pods(name, 1)
    await api.start_pod(pod)
    await api.wait_for_phase(name, "Running")


async def _finishes_with_its_only_pod(api: Api, name: str) -> None:
    [pod] = await api.pods(name)
    await api.finish_pod(pod)
    await api.wait_for_phase(name, "Succeeded")
    assert [each["metadata"]["uid"] for each in await api.pods(name)] == [pod["metadata"]["uid"]]


async def test_a_standby_is_ready_writes_nothing_and_takes_over_from_a_leader_that_was_killed(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    async with replicas(api_server, api, tmp_path, QUICK) as [leader, standby]:
        await _runs(api, "digits")
        assert leader.process.probe("/readyz") == (200, "ok\n")
        assert standby.process.probe("/readyz") == (200, "ok, standby: leader=false\n")
        assert standby.process.probe("/healthz")[0] == 200
        assert {str(seen) for seen in standby.proxy.requests} == {"get leases"}

        leader.process.kill()
        await standby.wait_until_it_leads()
        await _finishes_with_its_only_pod(api, "digits")


async def test_a_leader_releases_the_lease_on_sigterm(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    hour = {
        "TRAININGJOB_LEADER_ELECTION__LEASE_DURATION": "3600",
        "TRAININGJOB_LEADER_ELECTION__RENEW_DEADLINE": "3000",
    }
    async with replicas(api_server, api, tmp_path, hour) as [leader, standby]:
        await _runs(api, "digits")
        leader.process.process.send_signal(signal.SIGTERM)
        await standby.wait_until_it_leads()
        assert leader.process.wait_for_exit(PATIENCE_S) == 0
        await _finishes_with_its_only_pod(api, "digits")


@pytest.mark.long
async def test_a_leader_resumed_after_a_freeze_exits_without_a_write(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    async with replicas(api_server, api, tmp_path, QUICK) as [leader, standby]:
        await _runs(api, "digits")
        with stopped(leader.process):
            # Events that would make it write when it resumes: a job to start, and one that has ended.
            await standby.wait_until_it_leads()
            before = leader.writes()
            await _finishes_with_its_only_pod(api, "digits")
            await api.apply(make_job("more"))
            await api.wait_for_pods("more", 1)
        assert leader.process.wait_for_exit(PATIENCE_S) == 1
        assert "restarts as a standby" in leader.process.log()
        assert leader.writes() == before


@pytest.mark.long
@pytest.mark.parametrize("fault", ["hangs", "refuses"])
async def test_a_leader_that_cannot_renew_exits_and_writes_nothing_after_the_takeover(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, fault: str
) -> None:
    async with replicas(api_server, api, tmp_path, QUICK) as [leader, standby]:
        await _runs(api, "digits")
        cut_off = Fault(lambda seen: seen.resource == "leases", times=None)
        if fault == "hangs":
            cut_off.hang = True
        else:
            cut_off.status = 500
        leader.proxy.add(cut_off)
        await standby.wait_until_it_leads()
        before = leader.writes()
        await _finishes_with_its_only_pod(api, "digits")
        assert leader.process.wait_for_exit(PATIENCE_S) == 1
        assert leader.writes() == before


HOUR_S = 3600.0


async def _renews(leader: Replica, times: int) -> None:
    """Wait until it has written the Lease so often, for longer than the Lease lasts."""
    deadline, goal = time.monotonic() + PATIENCE_S, leader.renewals + times
    while leader.renewals < goal:
        assert leader.process.is_running, leader.process.log()
        assert time.monotonic() < deadline, leader.process.log()
        await asyncio.sleep(0.05)


@pytest.mark.long
async def test_a_wall_clock_an_hour_off_does_not_affect_the_lease(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    clocks = (HOUR_S, -HOUR_S)
    async with replicas(api_server, api, tmp_path, QUICK, clocks) as [leader, standby]:
        assert isinstance(leader.process, OperatorWithWrongClock)
        assert isinstance(standby.process, OperatorWithWrongClock)
        await _runs(api, "digits")
        # By the standby's clock, each renewal is first two hours in the future, and then two hours old.
        for is_ahead_by in clocks:
            leader.process.set_clock(is_ahead_by)
            standby.process.set_clock(-is_ahead_by)
            await _renews(leader, 16)
            spec = (await api.client.get(_lease(api)))["spec"]
            renewed = datetime.fromisoformat(spec["renewTime"])
            off = (renewed - datetime.now(UTC)).total_seconds()
            assert abs(off - is_ahead_by) < HOUR_S / 2, "the clocks are not wrong"
            assert spec["leaseTransitions"] == 0
        assert leader.leads
        assert {str(seen) for seen in standby.proxy.requests} == {"get leases"}

        leader.process.kill()
        await standby.wait_until_it_leads()
        await _finishes_with_its_only_pod(api, "digits")
