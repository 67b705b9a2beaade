"""Faults of the API server, the network and watches, and the operator's reaction."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.fault_proxy import Fault, FaultProxy, ProxiedRequest
from tests.support.builders import make_job
from tests.support.markers import quick
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.stopwatch import Stopwatch


@pytest.fixture
def proxy(api_server: ApiServerUnderTest, tmp_path: Path) -> Iterator[FaultProxy]:
    with FaultProxy(api_server.operator_kubeconfig, tmp_path) as running:
        yield running


@pytest.fixture
def operator(proxy: FaultProxy, api: Api, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator behind the proxy, which follows the test's namespace alone."""
    process = OperatorProcess(
        proxy.kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_NAMESPACES=api.namespace,
        TRAININGJOB_KUBERNETES__TIMEOUT="2s",
        TRAININGJOB_RESTART__BACKOFF="0",
    )
    with process:
        process.wait_until_ready()
        yield process


def creates_pod(seen: ProxiedRequest) -> bool:
    return str(seen) == "create pods"


def patches_status(seen: ProxiedRequest) -> bool:
    return str(seen) == "patch trainingjobs/status"


async def run_to_the_end(api: Api, name: str, attempt: int = 0) -> None:
    [pod] = await api.wait_for_pods(name, 1, attempt=attempt)
    await api.start_pod(pod)
    await api.finish_pod(pod)
    await api.wait_for_phase(name, "Succeeded")


@pytest.mark.parametrize("status", quick([500, 502, 503, 504], in_quick=[503]))
async def test_errors_of_the_api_server_fail_no_job(
    operator: OperatorProcess, proxy: FaultProxy, api: Api, status: int
) -> None:
    proxy.add(Fault(creates_pod, status=status, times=2))
    fault = proxy.add(Fault(patches_status, status=status, times=2))

    await api.apply(make_job("sick"))

    await run_to_the_end(api, "sick")
    assert fault.hits == 2
    final = (await api.job("sick"))["status"]
    assert (final["attempt"], final["restarts"], final["disruptions"]) == (0, 0, 0)


async def test_retry_after_is_honoured(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    throttled: list[float] = []
    fault = proxy.add(
        Fault(
            lambda seen: creates_pod(seen) and not throttled.append(time.monotonic()),  # type: ignore[func-returns-value]
            status=429,
            reason="TooManyRequests",
            headers={"Retry-After": "2"},
        )
    )

    await api.apply(make_job("patient"))

    await run_to_the_end(api, "patient")
    assert fault.hits == 1
    assert throttled[1] - throttled[0] >= 2.0


async def test_a_lost_response_creates_no_second_pod(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    fault = proxy.add(Fault(creates_pod, after=lambda: None))

    await api.apply(make_job("echo", nodes=2))

    pods = await api.wait_for_pods("echo", 2)
    for pod in pods:
        await api.start_pod(pod)
    await api.wait_for_phase("echo", "Running")
    assert fault.hits == 1
    assert [p["metadata"]["uid"] for p in await api.pods("echo")] == [
        p["metadata"]["uid"] for p in pods
    ]


async def test_a_conflict_is_resolved_by_a_new_read(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    fault = proxy.add(Fault(patches_status, status=409, reason="Conflict", times=3))

    await api.apply(make_job("conflict"))

    await run_to_the_end(api, "conflict")
    assert fault.hits == 3


async def test_a_hanging_request_blocks_no_other_job(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    await api.apply(make_job("slow", suspend=True))
    await api.wait_for_phase("slow", "Suspended")
    proxy.add(
        Fault(lambda seen: str(seen) == "get trainingjobs" and seen.name == "slow", hang=True)
    )

    await api.patch_job("slow", {"spec": {"suspend": False}})
    await api.apply(make_job("quick"))

    await run_to_the_end(api, "quick")
    await run_to_the_end(api, "slow")  # its own time-out over, it is tried again


async def test_a_permanent_rejection_is_retried_with_backoff(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    fault = proxy.add(
        Fault(creates_pod, status=403, reason="Forbidden", message="webhook says no", times=None)
    )

    await api.apply(make_job("denied", nodes=8))
    status = await api.wait_for_job(
        "denied", lambda s: condition(s, "PodsReady").get("reason") == "Forbidden"
    )
    assert "webhook says no" in condition(status, "PodsReady")["message"]
    for number in range(20):  # events of all kinds must not lead to another try
        await api.patch_job("denied", {"metadata": {"labels": {"touched": str(number)}}})
    await api.apply(make_job("witness", suspend=True))
    await api.wait_for_phase("witness", "Suspended")

    assert fault.hits == 1


async def test_a_job_continues_soon_after_missing_rights_are_granted(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    """An API server that has just started knows no roles, and forbids everybody everything."""
    missing = 'User "operator" cannot {} in API group "" in the namespace "ml"'
    creates = Fault(
        creates_pod,
        status=403,
        reason="Forbidden",
        message=f"pods is forbidden: {missing.format('create resource pods')}",
        times=2,
    )
    writes = Fault(
        patches_status,
        status=403,
        reason="Forbidden",
        message=f'trainingjobs "young" is forbidden: {missing.format("patch trainingjobs")}',
        times=2,
    )
    for fault in (creates, writes):
        proxy.add(fault)

    took = Stopwatch.including_this_process(operator.process.pid)
    await api.apply(make_job("young"))
    await run_to_the_end(api, "young")

    assert (creates.hits, writes.hits) == (2, 2)
    assert took.seconds() < 30, "a refusal by admission would have cost a minute each"


async def test_the_operator_catches_up_after_an_outage_of_the_api_server(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    await api.apply(make_job("before"))
    [pod] = await api.wait_for_pods("before", 1)
    await api.wait_for_job("before", lambda s: s.get("launchedAttempt") == 0)

    proxy.stop()
    await api.start_pod(pod)
    await api.finish_pod(pod)
    await api.apply(make_job("during"))
    await asyncio.sleep(3)  # the outage itself
    proxy.start()

    took = Stopwatch.including_this_process(operator.process.pid)
    await api.wait_for_phase("before", "Succeeded")
    await api.wait_for_pods("during", 1)
    assert took.seconds() < 10
    assert operator.is_running
    assert operator.probe("/healthz")[0] == 200


def gone_once(resource: str, namespace: str) -> Fault:
    """A response to a watch with an expired resource version."""
    watch = ("watch", resource, namespace)
    return Fault(
        lambda seen: (seen.verb, seen.resource, seen.namespace) == watch,
        status=410,
        reason="Expired",
    )


async def test_objects_deleted_while_the_watch_is_down_are_noticed(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    await api.apply(make_job("gap", nodes=2))
    await api.apply(make_job("doomed"))
    await api.wait_for_pods("doomed", 1)
    pods = await api.wait_for_pods("gap", 2)
    for pod in pods:
        await api.start_pod(pod)
    await api.wait_for_phase("gap", "Running")

    # The watches break; a pod and a job are deleted; the resumed watches get 410, because their resource
    # versions have expired. Lists are delayed until then, so that none can see an earlier state.
    held = proxy.add(
        Fault(lambda seen: seen.verb in {"watch", "list"}, before=lambda: None, times=None)
    )
    proxy.drop_watches()
    async with asyncio.timeout(90):
        while held.hits == 0:
            await asyncio.sleep(0.02)
    await api.delete_pod(pods[0], grace_s=0)
    await api.delete_job("doomed")
    # Each its own: a watch that were let on from where it was would see the deletion. The default
    # policy's namespace is watched, too.
    gone = [gone_once(what, api.namespace) for what in ("trainingjobs", "pods")]
    proxy.faults[:] = gone

    await api.wait_for_pods("gap", 2, attempt=1)
    # The watches are reopened independently: that of jobs may be later than all effects of pod events.
    async with asyncio.timeout(90):
        while not all(fault.hits for fault in gone):
            await asyncio.sleep(0.02)
    assert (await api.job("gap"))["status"]["disruptions"] == 1
    async with asyncio.timeout(90):
        while "doomed was deleted, which no watch event reported" not in operator.log():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("plural", ["pods", "trainingjobs"])
async def test_a_broken_watch_is_reopened_after_a_new_list(
    operator: OperatorProcess, proxy: FaultProxy, api: Api, plural: str
) -> None:
    await api.apply(make_job("patient"))
    [pod] = await api.wait_for_pods("patient", 1)
    listed = proxy.count(f"list {plural}")
    broken = Fault(
        lambda seen: str(seen) == f"watch {plural}", times=3, status=500, reason="InternalError"
    )
    proxy.add(broken)

    proxy.drop_watches()
    await api.start_pod(pod)
    await api.finish_pod(pod)

    await api.wait_for_phase("patient", "Succeeded")
    async with asyncio.timeout(90):
        while broken.hits < 3 or proxy.count(f"list {plural}") < listed + 4:
            await asyncio.sleep(0.02)
    assert operator.is_running
    assert operator.probe("/readyz")[0] == 200


async def test_a_broken_watch_of_policies_exits_so_that_the_pod_is_restarted(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    broken = Fault(
        lambda seen: str(seen) == "watch retentionpolicies", status=500, reason="InternalError"
    )
    proxy.add(broken)

    proxy.drop_watches()

    assert await asyncio.to_thread(operator.wait_for_exit, 90) != 0


async def test_sigterm_during_work_exits_in_two_seconds_with_code_0(
    operator: OperatorProcess, proxy: FaultProxy, api: Api
) -> None:
    proxy.add(Fault(creates_pod, delay_s=1.5, times=None))
    for number in range(20):
        await api.apply(make_job(f"busy-{number}"))
    async with asyncio.timeout(90):
        while proxy.count("create pods") < 8:
            await asyncio.sleep(0.01)

    code, seconds = await asyncio.to_thread(operator.terminate)

    assert code == 0
    assert seconds < 2.0


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("probes are served", marks=(pytest.mark.long, pytest.mark.anew)),
        "watching for more",
    ],
)
async def test_sigterm_during_the_start_exits_in_two_seconds_with_code_0(
    said: str, api: Api, tmp_path: Path
) -> None:
    with OperatorProcess(api.server.operator_kubeconfig, tmp_path / "operator.log") as operator:
        async with asyncio.timeout(90):
            while said not in operator.log():
                await asyncio.sleep(0.005)

        code, seconds = await asyncio.to_thread(operator.terminate)

        assert code == 0, operator.log()
        assert seconds < 2.0, operator.log()
