"""SIGKILL at the n-th write, before and after the API server processes it, for every write of a job.

The job of two ranks fails once and then succeeds, so that it is created, launched, restarted,
cleaned up and finished. The next process continues correctly after a crash at any write.
"""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.fault_proxy import Fault, FaultProxy
from tests.support.builders import make_job
from tests.support.markers import quick
from tests.support.processes.operator import OperatorProcess
from trainingjob_sandbox.client import Listed

Object = dict[str, Any]

WRITES = 10
"""Service, 2 pods, launched, running, restart, 2 deletions, 2 pods, ...: the crash points tried."""


class PodLedger:
    """Records every pod that was ever created, with its own watch."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.uids: dict[str, str] = {}
        self.twice: list[str] = []

    async def follow(self) -> None:
        path = f"/api/v1/namespaces/{self._api.namespace}/pods"
        async for change in self._api.client.watch(path):
            for pod in change.items if isinstance(change, Listed) else [change.object]:
                self._note(pod["metadata"])

    def _note(self, metadata: Object) -> None:
        known = self.uids.setdefault(metadata["name"], metadata["uid"])
        if known != metadata["uid"]:
            self.twice.append(metadata["name"])


async def play_the_node(api: Api, name: str) -> Object:
    """Run all pods: rank 1 of attempt 0 fails, all others succeed. Return the final status."""
    done: set[str] = set()
    async with asyncio.timeout(120):
        while True:
            status = (await api.job(name)).get("status") or {}
            if condition(status, "Finished").get("status") == "True":
                return dict(status)
            pods = await api.pods(name)
            by_attempt = Counter(p["metadata"]["labels"]["trainingjob.dev/attempt"] for p in pods)
            for pod in pods:
                labels, uid = pod["metadata"]["labels"], pod["metadata"]["uid"]
                attempt = labels["trainingjob.dev/attempt"]
                if uid in done or by_attempt[attempt] < 2:
                    continue  # ranks wait for one another
                await api.start_pod(pod)
                first, rank = attempt == "0", labels["trainingjob.dev/index"]
                if not first or rank == "1":
                    await api.finish_pod(pod, code=7 if first else 0)
                done.add(uid)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", quick(range(WRITES), in_quick=(7,)))
async def test_a_crash_creates_no_pod_twice_and_loses_no_restart(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, number: int, moment: str
) -> None:
    crashed = threading.Event()
    with FaultProxy(api_server.operator_kubeconfig, tmp_path) as proxy:
        operator = OperatorProcess(
            proxy.kubeconfig,
            tmp_path / "operator.log",
            TRAININGJOB_NAMESPACES=api.namespace,
            TRAININGJOB_RESTART__BACKOFF="0",
        )

        def crash() -> None:
            operator.process.kill()
            crashed.set()

        fault = Fault(
            lambda seen: seen.writes,
            skip=number,
            before=crash if moment == "before" else None,
            after=crash if moment == "after" else None,
        )
        with operator:
            operator.wait_until_ready()
            proxy.add(fault)
            ledger = PodLedger(api)
            following = asyncio.create_task(ledger.follow())
            await api.apply(make_job("phoenix", nodes=2))
            playing = asyncio.create_task(play_the_node(api, "phoenix"))
            waiting = asyncio.create_task(asyncio.to_thread(crashed.wait, 60))
            await asyncio.wait({playing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            assert crashed.is_set(), f"the life of the job had fewer than {number + 1} writes"
            await asyncio.to_thread(operator.process.wait)
            operator.start()

            final = await playing
            following.cancel()

    assert condition(final, "Complete")["status"] == "True"
    assert ledger.twice == []
    assert (final["restarts"], final["disruptions"], final["attempt"]) == (1, 0, 1)
    assert len(ledger.uids) == 4
