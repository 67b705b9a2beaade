"""Finished jobs are deleted by retention: an operator process on an API server."""

import asyncio
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import COLLECTED_S, Api, ApiServerUnderTest
from tests.support.apiserver.fault_proxy import Fault, FaultProxy, ProxiedRequest
from tests.support.apiserver.retention import AT_ONCE, KEEP, finish, messages
from tests.support.builders import make_job
from tests.support.processes.operator import operating, operator_of
from tests.support.records.http_endpoint import HttpEndpoint

Object = dict[str, Any]


async def wait_for_event(api: Api, name: str, reason: str) -> list[Object]:
    async with asyncio.timeout(90):
        while not (found := [e for e in await api.events(name) if e["reason"] == reason]):
            await asyncio.sleep(0.05)
    return found


def _deletes_a_job(seen: ProxiedRequest) -> bool:
    return (seen.verb, seen.resource) == ("delete", "trainingjobs")


async def test_finished_jobs_are_deleted_with_their_pods_for_every_outcome(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    with operating(api_server, api, tmp_path, **AT_ONCE) as operator:
        await finish(api, "complete")
        await finish(api, "failed", code=3)
        await api.apply(make_job("cancelled"))
        [pod] = await api.wait_for_pods("cancelled", 1)
        await api.start_pod(pod)
        await api.patch_job("cancelled", {"spec": {"shutdown": "Terminate"}})
        for name in ("complete", "failed", "cancelled"):
            await api.wait_until_gone(name)
            [event] = await wait_for_event(api, name, "Expired")
            assert "after it finished, as set by the operator's settings" in event["message"]
        async with asyncio.timeout(COLLECTED_S):
            while await api.pods("complete") or await api.pods("failed"):
                await asyncio.sleep(0.05)
        said = "\n".join(messages(operator))
    namespace = api.namespace
    for name, ended in (
        ("complete", "Succeeded"),
        ("failed", "Failed"),
        ("cancelled", "Cancelled"),
    ):
        assert re.search(
            f"Cleanup: removed job {namespace}/{name} .{ended}, finished [0-9]+s ago", said
        )


async def test_a_job_is_deleted_after_its_own_ttl_and_after_its_record(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    with (
        HttpEndpoint() as ledger,
        operating(
            api_server,
            api,
            tmp_path,
            TRAININGJOB_GC__TTL="1h",
            TRAININGJOB_PERSIST__URL=ledger.url,
        ),
    ):
        ledger.go_down()
        created = await finish(api, "owing", ttlSecondsAfterFinished=1)
        await api.wait_for_phase("owing", "Succeeded")
        ended_at = time.monotonic()
        while time.monotonic() < ended_at + 3:
            assert not await api.job_is_gone("owing"), "it went before its record was stored"
            await asyncio.sleep(0.1)
        ledger.come_up()
        await api.wait_until_gone("owing", patience_s=60)
    assert created["metadata"]["uid"] in ledger.rows


async def test_pinned_suspended_unfinished_and_gitops_jobs_are_kept(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    with operating(api_server, api, tmp_path, TRAININGJOB_GC__INTERVAL="1", **AT_ONCE) as operator:
        await finish(api, "pinned", metadata={"annotations": KEEP})
        helm = {"app.kubernetes.io/managed-by": "Helm"}
        await finish(api, "charted", metadata={"labels": helm})
        await api.apply(make_job("waiting", suspend=True))
        await api.apply(make_job("running"))
        await finish(api, "gone")
        await api.wait_until_gone("gone")
        [event] = await wait_for_event(api, "charted", "NotDeleted")
        assert "Helm owns it and would create it again" in event["message"]
        for name in ("pinned", "charted", "waiting", "running"):
            assert not await api.job_is_gone(name), messages(operator)
        # The reasons that keep them can be removed.
        unpinned = {"metadata": {"annotations": {"trainingjob.dev/keep": None}}}
        await api.patch_job("pinned", unpinned)
        await api.patch_job("charted", {"spec": {"ttlSecondsAfterFinished": 0}})
        for name in ("pinned", "charted"):
            await api.wait_until_gone(name)


async def test_jobs_that_argo_cd_would_recreate_are_kept_by_its_tracking_label(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    chosen = {"TRAININGJOB_GC__ARGOCD_LABEL": "example.com/app"}
    with operating(api_server, api, tmp_path, **AT_ONCE, **chosen) as operator:
        await finish(api, "synced", metadata={"labels": {"example.com/app": "ml"}})
        await finish(api, "named", metadata={"labels": {"app.kubernetes.io/instance": "ml"}})
        await api.wait_until_gone("named")
        [event] = await wait_for_event(api, "synced", "NotDeleted")
        assert "Argo CD owns it and would create it again" in event["message"]
        assert not await api.job_is_gone("synced"), messages(operator)


@pytest.mark.parametrize("change", ["longer", "pinned", "namesake"])
async def test_a_job_that_changes_between_read_and_deletion_is_kept(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, change: str
) -> None:
    """The operator's DELETE is held while a user changes the job: the preconditions refuse it."""

    async def act() -> None:
        if change == "longer":
            await api.patch_job("saved", {"spec": {"ttlSecondsAfterFinished": 3600}})
        elif change == "pinned":
            await api.patch_job("saved", {"metadata": {"annotations": KEEP}})
        else:
            await api.delete_job("saved")
            await api.apply(make_job("saved", suspend=True))

    with FaultProxy(api_server.operator_kubeconfig, tmp_path) as proxy:
        process = operator_of(proxy.kubeconfig, api, tmp_path, TRAININGJOB_GC__TTL="1h")
        with process:
            process.wait_until_ready()
            await finish(api, "saved")
            await api.wait_for_phase("saved", "Succeeded")
            has_acted = threading.Event()
            held = Fault(_deletes_a_job, until=has_acted.is_set)
            proxy.add(held)
            await api.patch_job("saved", {"spec": {"ttlSecondsAfterFinished": 0}})
            async with asyncio.timeout(90):
                while not held.hits:
                    await asyncio.sleep(0.02)
            await act()
            has_acted.set()
            await finish(api, "after", ttlSecondsAfterFinished=0)
            await api.wait_until_gone("after")
            assert not await api.job_is_gone("saved"), process.log()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_next_operator_completes_a_deletion_after_a_crash(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, moment: str
) -> None:
    loop, crashed = asyncio.get_running_loop(), asyncio.Event()
    with FaultProxy(api_server.operator_kubeconfig, tmp_path) as proxy:
        process = operator_of(proxy.kubeconfig, api, tmp_path, TRAININGJOB_GC__TTL="0")

        def crash() -> None:
            process.process.kill()
            loop.call_soon_threadsafe(crashed.set)

        with process:
            process.wait_until_ready()
            hooks: dict[str, Any] = {moment: crash}
            proxy.add(Fault(_deletes_a_job, **hooks))
            await finish(api, "phoenix")
            async with asyncio.timeout(90):
                await crashed.wait()
            await asyncio.to_thread(process.process.wait)
            assert await api.job_is_gone("phoenix") == (moment == "after")
            process.start()
            process.wait_until_ready()
            await api.wait_until_gone("phoenix", patience_s=60)
