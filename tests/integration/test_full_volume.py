"""An operator whose log volume is full: a real file system without a free block."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_log_archive import WAIT_S, Cluster, logs
from tests.support.apiserver.api import condition
from tests.support.apiserver.retention import forget_volume, policy_path
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode
from tests.support.records.http_endpoint import HttpEndpoint
from trainingjob_sandbox.client import ApiClient, ApiError

Object = dict[str, Any]
LONG = "seq 400000"
"""More than three megabytes of log."""
BETWEEN_JOBS_S = 2.0
"""The pause between jobs: after an error, the operator does not use the volume for half a minute."""


class OnSmallVolume(OperatorProcess):
    """An operator in a mount namespace of its own, where its volume is a file system of 8 MiB."""

    volume: Path

    def spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        mounts = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
        unshare = ["unshare", "--mount", "--propagation", "private"]
        super().spawn([*unshare, "sh", "-c", mounts, str(self.volume), *command], environment)

    @property
    def inside(self) -> Path:
        """The path of the volume in the operator's mount namespace."""
        return Path(f"/proc/{self.process.pid}/root{self.volume}")


def _why_not() -> str:
    """Return the reason why this machine permits no mounts, if so."""
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("unshare") is None:
        return "mounting takes root on Linux, and unshare"
    may = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return may.stderr.strip() if may.returncode else ""


@pytest.fixture
async def cluster(process_node: ProcessNode, tmp_path: Path) -> AsyncIterator[Cluster]:
    if why := _why_not():
        pytest.skip(f"nothing can be mounted here: {why}")
    root = tmp_path / "volume"
    root.mkdir()
    async with ApiClient.from_kubeconfig(process_node.kubeconfig) as client:
        yield Cluster(client, process_node, root)
        await forget_volume(client)


async def health(cluster: Cluster, namespace: str, status: str) -> Object:
    """The condition VolumeHealthy of the default policy, once it says this."""
    deadline = time.monotonic() + WAIT_S
    found: Object = {}
    while found.get("status") != status:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
        try:
            policy = await cluster.client.get(policy_path(namespace))
            found = condition(policy["status"], "VolumeHealthy")
        except (ApiError, KeyError, StopIteration):
            continue
    return found


def fill(place: Path) -> None:
    """Leave no block free."""
    with (place / "others").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


@pytest.mark.long
async def test_on_a_full_volume_jobs_are_recorded_and_later_logs_are_archived_once_there_is_space(
    cluster: Cluster,
) -> None:
    with HttpEndpoint() as ledger:
        operator = OnSmallVolume(
            cluster.node.kubeconfig,
            cluster.root.parent / "operator.log",
            TRAININGJOB_NAMESPACES="default",
            TRAININGJOB_VOLUME__ROOT=str(cluster.root),
            TRAININGJOB_GC__INTERVAL="1",
            TRAININGJOB_GC__TTL="1h",
            TRAININGJOB_PERSIST__URL=ledger.url,
        )
        operator.volume = cluster.root
        with operator:
            operator.wait_until_ready()
            await health(cluster, "default", "True")
            fill(operator.inside)
            job = await cluster.apply(LONG, cleanPodPolicy="All")
            status = await cluster.settled(job)
            assert status["phase"] == "Succeeded"
            done, reason, message = logs(status)
            assert (done, reason) == ("False", "VolumeUnavailable")
            assert "is full (No space left on device)" in message
            await cluster.until(job, lambda s: s.get("recordState") == "Stored")
            await no_pods(cluster, job)
            said = await health(cluster, "default", "False")
            assert said["reason"] == "Unavailable"
            assert "is full (No space left on device)" in said["message"]
            assert os.statvfs(operator.inside).f_bavail == 0

            (operator.inside / "others").unlink()
            uid, deadline = "", time.monotonic() + 2 * WAIT_S
            while not uid:  # the volume is left alone for half a minute
                assert time.monotonic() < deadline
                later = await cluster.apply(LONG, cleanPodPolicy="All")
                if logs(await cluster.settled(later))[:2] == ("True", "Archived"):
                    uid = later["metadata"]["uid"]
                else:
                    await asyncio.sleep(BETWEEN_JOBS_S)
            text = (operator.inside / f"job_{uid}.log").read_text()
            assert text.splitlines()[-2] == "[rank 0] 400000"
            await health(cluster, "default", "True")
        assert operator.log().count('"level": "ERROR"') == 0


async def no_pods(cluster: Cluster, job: Object) -> None:
    deadline = time.monotonic() + WAIT_S
    while await cluster.pods(job):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
