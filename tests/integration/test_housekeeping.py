"""RetentionPolicies and the retention that their timers run: an operator on an API server."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.fault_proxy import Fault, FaultProxy
from tests.support.apiserver.retention import (
    AT_ONCE,
    KEEP,
    finish,
    home_of,
    messages,
    policy_of,
    policy_path,
    read_policy,
    uid_of_policy,
    wait_for_sweep,
)
from tests.support.processes.operator import OperatorProcess, operating, operator_of, sweeping
from tests.support.real.real_cluster import Kubectl
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]

SHORT_OF_MEMORY = {
    "TRAININGJOB_MEMORY__PRESSURE_PERCENT": "1",
    "TRAININGJOB_MEMORY__RESUME_PERCENT": "0",
}
"""A limit of one percent of memory, which any machine exceeds: the operator sees memory pressure."""


@pytest.fixture
async def policies(api: Api) -> AsyncIterator[Api]:
    """The client of a namespace whose policy does not hold its end, with no operator to let go."""
    yield api
    with contextlib.suppress(ApiError):
        await api.client.patch(policy_path(api.namespace), {"metadata": {"finalizers": None}})


def _runs(operator: OperatorProcess) -> bool:
    return "Cleanup: run started" in operator.log()


async def test_a_namespaces_policy_applies_to_it_and_edits_take_effect_at_once(
    api_server: ApiServerUnderTest, policies: Api, tmp_path: Path
) -> None:
    api = policies
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/retentionpolicies"
    with operating(api_server, api, tmp_path, TRAININGJOB_GC__TTL="1h"):
        await finish(api, "first")
        await finish(api, "second", code=1)
        await api.wait_for_phase("first", "Succeeded")
        await api.wait_for_phase("second", "Failed")
        by_outcome = {"complete": 0, "failed": 3600}
        await api.client.create(path, policy_of(api.namespace, byOutcome=by_outcome))
        await api.wait_until_gone("first")
        assert not await api.job_is_gone("second")
        invalid = {"spec": {"ttlSecondsAfterFinished": -1}}
        with pytest.raises(ApiError, match="ttlSecondsAfterFinished"):
            await api.client.patch(f"{path}/default", invalid)
        edit = {"spec": {"ttlSecondsAfterFinished": 0, "byOutcome": None}}
        await api.client.patch(f"{path}/default", edit)
        await api.wait_until_gone("second")
        await api.client.delete(f"{path}/default")
        await finish(api, "third")
        await api.wait_for_phase("third", "Succeeded")


async def test_the_sweep_deletes_jobs_that_expired_while_no_operator_ran(
    api_server: ApiServerUnderTest, policies: Api, tmp_path: Path
) -> None:
    api = policies
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/retentionpolicies"
    long = {"TRAININGJOB_GC__TTL": "1h", "TRAININGJOB_GC__INTERVAL": "1"}
    with operating(api_server, api, tmp_path, **long):
        for name in ("one", "two", "three"):
            await finish(api, name)
            await api.wait_for_phase(name, "Succeeded")
        await finish(api, "broken", code=1)
        await api.wait_for_phase("broken", "Failed")
        await finish(api, "pinned", metadata={"annotations": KEEP})
        await api.wait_for_phase("pinned", "Succeeded")
    for name, ago_s in (("one", 100), ("two", 50)):  # times are whole seconds, and these may tie
        earlier = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago_s))
        await api.patch_job_status(name, {"completionTime": earlier})
    # The next process knows nothing of these jobs, and gets no events about them.
    forgetful = long | {"TRAININGJOB_INDEX__RETENTION": "0"}
    limits = {"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}
    await api.client.create(path, policy_of(api.namespace, **limits))
    with operating(api_server, api, tmp_path, **forgetful) as operator:
        for name in ("one", "two", "broken"):
            await api.wait_until_gone(name, patience_s=70)
        assert not await api.job_is_gone("three")
        status = await wait_for_sweep(api, api.namespace)
        async with asyncio.timeout(90):
            while (status["totals"] or {}).get("jobsDeleted") != 3:
                status = await wait_for_sweep(api, api.namespace)
        assert status["observedGeneration"] == 1
        assert status["totals"]["errors"] == 0

        await api.client.patch(f"{path}/default", {"spec": {"ttlSecondsAfterFinished": 0}})
        await api.wait_until_gone("three")
        async with asyncio.timeout(90):
            while (status.get("skipped") or {}) != {"Kept": 1}:
                status = await wait_for_sweep(api, api.namespace)
        assert status["ttlSecondsAfterFinished"] == 0
        said = messages(operator)
        assert not await api.job_is_gone("pinned")
        # kopf's finalizer is released when a user deletes the policy.
        await api.client.delete(f"{path}/default")
        async with asyncio.timeout(90):
            while await uid_of_policy(api, api.namespace):
                await asyncio.sleep(0.05)
    assert f"Cleanup: run started for {api.namespace}" in said
    assert any(line.startswith("Cleanup: removed job ") for line in said)


async def test_the_default_policy_is_created_swept_and_recreated(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    """In a namespace whose jobs are not served: that of the operator."""
    home = home_of(api_server)
    settings = {"TRAININGJOB_GC__TTL": "1h", "TRAININGJOB_GC__INTERVAL": "1"}
    with operating(api_server, api, tmp_path, **settings) as operator:
        first = await read_policy(api, home)
        assert first["spec"] == {}
        before = (first.get("status") or {}).get("lastSweepTime", "")
        status = await wait_for_sweep(api, home, after=before)
        assert status["ttlSecondsAfterFinished"] == 3600
        counts = ("jobsDeleted", "filesRemoved", "directoriesRemoved", "bytesFreed", "errors")
        assert [status[name] for name in counts] == [0] * 5
        assert "finalizers" not in (await read_policy(api, home))["metadata"]

        await api.client.delete(policy_path(home))
        async with asyncio.timeout(60):
            while await uid_of_policy(api, home) in {"", first["metadata"]["uid"]}:
                await asyncio.sleep(0.05)
        await wait_for_sweep(api, home, after=status["lastSweepTime"])
        said = messages(operator)
    for line in ("Cleanup: run started", "Memory: 0 jobs (0 active), 0 cached persists, "):
        assert any(found.startswith(line) for found in said), said
    assert any(
        found.startswith("Cleanup: done in ") and found.endswith(", next run in 1 s")
        for found in said
    )


async def test_the_sweep_deletes_only_files_of_jobs_that_no_longer_exist(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path
) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    with sweeping(own_api_server, own_api, tmp_path, root, max_age="1s") as operator:
        first = await wait_for_sweep(own_api, "default")
        assert first["volumeId"]
        created = await finish(own_api, "here")
        here = created["metadata"]["uid"]
        gone = str(uuid4())
        for uid in (here, gone):
            (root / f"job_{uid}").mkdir(exist_ok=True)  # the operator has made its own
            (root / f"job_{uid}" / "checkpoint").write_bytes(b"x" * 4096)
            (root / f"job_{uid}.log").write_text("epoch 1\n")
        async with asyncio.timeout(90):
            while (root / f"job_{gone}").exists() or (root / f"job_{gone}.log").exists():
                await asyncio.sleep(0.05)
            totals: Object = {}
            while totals.get("filesRemoved", 0) < 2 or not totals.get("directoriesRemoved"):
                status = (await read_policy(own_api, "default"))["status"]
                totals = status["totals"]
                await asyncio.sleep(0.05)
        assert (root / f"job_{here}" / "checkpoint").exists()
        assert (root / f"job_{here}.log").exists()
        assert condition(status, "VolumeHealthy")["status"] == "True"
        assert status["volumeId"] == first["volumeId"]
        assert totals["bytesFreed"] >= 4096
        said = messages(operator)
    assert any(re.fullmatch(_FILES_LINE, line) for line in said), said


_FILES_LINE = r"Cleanup: removed \d+ log files and \d+ directories \(\d+ bytes\)"


@pytest.mark.parametrize("moment", ["at its start", "in a run"])
async def test_sigterm_stops_the_operator_during_a_sweep(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path, moment: str
) -> None:
    with FaultProxy(api_server.operator_kubeconfig, tmp_path) as proxy:
        process = operator_of(proxy.kubeconfig, api, tmp_path, TRAININGJOB_GC__INTERVAL="1")
        with process:
            process.wait_until_ready()
            hangs = Fault(
                lambda seen: (seen.verb, seen.resource) == ("list", "trainingjobs"),
                times=None,
                hang=True,
            )
            proxy.add(hangs)
            async with asyncio.timeout(90):
                while not (hangs.hits if moment == "at its start" else _runs(process)):
                    await asyncio.sleep(0.02)
            code, seconds = await asyncio.to_thread(partial(process.terminate, patience_s=30.0))
            log = process.log()
    assert code == 0, log
    assert seconds < 10, log  # its request would hang for 15 s


async def test_kubectl_get_shows_the_last_sweep_of_each_policy(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    home = home_of(api_server)
    with operating(api_server, api, tmp_path, TRAININGJOB_GC__INTERVAL="1", **AT_ONCE):
        before = (await read_policy(api, home)).get("status") or {}
        await wait_for_sweep(api, home, after=before.get("lastSweepTime", ""))
        cache = tmp_path / "kubectl"
        kubectl = Kubectl(api_server.kubeconfig, cache, home)
        header, row = (await asyncio.to_thread(kubectl, "get", "rp", "default")).splitlines()
    columns = ["NAME", "TTL", "LAST", "JOBS", "FILES", "FREED", "ERRORS", "NEXT"]
    assert header.split() == columns
    name, ttl, last, *counts, due = row.split()
    assert (name, ttl, counts) == ("default", "0", ["0", "0", "0", "0"])
    assert re.fullmatch(r"\d+[sm]", last)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", due)


async def test_memory_pressure_before_the_default_policy_is_known_is_reported_later(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path
) -> None:
    home = home_of(own_api_server)
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{home}/retentionpolicies"
    await own_api.client.create(path, policy_of(home))
    kubectl = Kubectl(own_api_server.kubeconfig, tmp_path / "kubectl", home)
    with FaultProxy(own_api_server.operator_kubeconfig, tmp_path) as proxy:
        down = proxy.add(
            Fault(lambda seen: seen.resource == "retentionpolicies", times=None, status=503)
        )
        with operator_of(proxy.kubeconfig, own_api, tmp_path, **SHORT_OF_MEMORY) as operator:
            async with asyncio.timeout(90):
                while not any("memory pressure: " in line for line in messages(operator)):
                    await asyncio.sleep(0.05)
            said = await asyncio.to_thread(kubectl, "describe", "rp", "default")
            assert "MemoryPressure" not in said
            proxy.faults.remove(down)
            async with asyncio.timeout(60):
                while "MemoryPressure" not in said:
                    said = await asyncio.to_thread(kubectl, "describe", "rp", "default")
            told = [line for line in messages(operator) if line.startswith("memory pressure: ")]
    assert said.count("MemoryPressure") == 1
    assert told[0] in said, "the event says what the log said"


async def test_memory_pressure_is_reported_by_the_default_policy(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    home = home_of(api_server)
    kubectl = Kubectl(api_server.kubeconfig, tmp_path / "kubectl", home)
    with operating(
        api_server, api, tmp_path, TRAININGJOB_GC__TTL="1h", **SHORT_OF_MEMORY
    ) as operator:
        said = ""
        async with asyncio.timeout(90):
            while "MemoryPressure" not in said:
                said = await asyncio.to_thread(kubectl, "describe", "rp", "default")
        told = [line for line in messages(operator) if line.startswith("memory pressure: ")]
    [line] = [line for line in said.splitlines() if "MemoryPressure" in line]
    assert line.split()[:2] == ["Warning", "MemoryPressure"]
    [first] = told
    assert first in line, "the event says what the log says"
