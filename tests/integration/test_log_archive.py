"""Logs of real processes are archived exactly once, despite deletions and crashes."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode
from tests.support.records.http_endpoint import HttpEndpoint
from trainingjob_operator.log_archive.archive_file import LIMIT
from trainingjob_sandbox.client import ApiClient, ApiError

Object = dict[str, Any]
JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
PODS = "/api/v1/namespaces/default/pods"
WAIT_S = 40.0

HELLO = "echo hello from $TRAININGJOB_ATTEMPT; echo bye"
FAILS_ONCE = "echo attempt $TRAININGJOB_ATTEMPT; test $TRAININGJOB_ATTEMPT = 1"
FAILS_TOGETHER = (
    "echo attempt $TRAININGJOB_ATTEMPT; test $TRAININGJOB_ATTEMPT = 1 && exit 0; "
    "case $HOSTNAME in *-0) until [ -e {begun} ]; do sleep 0.05; done; sleep 3; exit 1;; "
    "*) touch {begun}; exec sleep 1000;; esac"
)
"""Rank 0 fails 3 s after rank 1 has written its line, and the file `begun` to say so."""
FOR_EVER = "echo begun; exec sleep 1000"
LONG = "seq 1000000"
"""Less than a node keeps of a log, and more than the archive does of a million lines' prefixes."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)


class Cluster:
    """The cluster, the volume, and what a test asks of them."""

    def __init__(self, client: ApiClient, node: ProcessNode, root: Path) -> None:
        self.client = client
        self.node = node
        self.root = root

    @contextmanager
    def operator(self, **settings: str) -> Iterator[OperatorProcess]:
        """The operator with the volume."""
        process = OperatorProcess(
            self.node.kubeconfig,
            self.root.parent / "operator.log",
            TRAININGJOB_NAMESPACES="default",
            TRAININGJOB_VOLUME__ROOT=str(self.root),
            **settings,
        )
        with process:
            process.wait_until_ready()
            yield process

    async def apply(self, command: str, **spec: Any) -> Object:
        job = make_job(
            f"job-{uuid4().hex[:8]}", namespace="default", command=["sh", "-c", command], **spec
        )
        return await self.client.create(JOBS, job)

    async def status(self, job: Object) -> Object:
        found = await self.client.get(f"{JOBS}/{job['metadata']['name']}")
        status: Object = found.get("status", {})
        return status

    async def until(self, job: Object, holds: Callable[[Object], bool]) -> Object:
        """The job's status as soon as this holds of it."""
        deadline = time.monotonic() + WAIT_S
        while not holds(status := await self.status(job)):
            assert time.monotonic() < deadline, json.dumps(status, indent=1)
            await asyncio.sleep(0.05)
        return status

    async def settled(self, job: Object) -> Object:
        return await self.until(job, lambda s: logs(s)[1] not in {"", "Pending"} and ended(s))

    async def pods(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        items, _ = await self.client.list(PODS)
        return [p for p in items if p["metadata"]["labels"].get("trainingjob.dev/job-uid") == uid]

    async def gone(self, job: Object) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                await self.status(job)
            except ApiError:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the job is still there: {await self.status(job)}")

    def archive(self, job: Object) -> Path:
        return self.root / f"job_{job['metadata']['uid']}.log"

    def sections(self, job: Object) -> dict[tuple[int, int], str]:
        """Return the log of each attempt and rank; a duplicate section fails the test."""
        found: dict[tuple[int, int], list[str]] = {}
        for line in self.archive(job).read_text().splitlines(keepends=True):
            words = line.split()
            if line.startswith("==> attempt "):
                place = (int(words[2]), int(words[4]))
                assert place not in found, f"{place} is there twice"
                found[place] = []
            elif not line.startswith("<== "):
                prefix = f"[rank {place[1]}] "
                assert line.startswith(prefix)
                found[place].append(line.removeprefix(prefix))
        return {place: "".join(lines) for place, lines in found.items()}


def logs(status: Object) -> tuple[str, str, str]:
    found = [c for c in status.get("conditions", []) if c["type"] == "LogsArchived"]
    return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")


def ended(status: Object) -> bool:
    return "completionTime" in status


@pytest.fixture
async def cluster(process_node: ProcessNode, tmp_path: Path) -> AsyncIterator[Cluster]:
    root = tmp_path / "volume"
    root.mkdir()
    async with ApiClient.from_kubeconfig(process_node.kubeconfig) as client:
        yield Cluster(client, process_node, root)
        jobs, _ = await client.list(JOBS)
        for job in jobs:
            patch: Object = {"metadata": {"finalizers": []}}
            path = f"{JOBS}/{job['metadata']['name']}"
            try:
                await client.patch(path, patch)
                await client.delete(path)
            except ApiError as error:
                if error.status != 404:
                    raise


async def test_the_logs_of_ranks_are_archived_and_the_record_names_the_archive(
    cluster: Cluster,
) -> None:
    with HttpEndpoint() as ledger, cluster.operator(TRAININGJOB_PERSIST__URL=ledger.url):
        one = await cluster.apply(HELLO)
        two = await cluster.apply(HELLO, nodes=2)
        for job in (one, two):
            status = await cluster.settled(job)
            assert logs(status)[:2] == ("True", "Archived")
            size = cluster.archive(job).stat().st_size
            path = f"job_{job['metadata']['uid']}"
            assert status["logs"] == {"path": path, "bytes": size}
            stored = await cluster.until(job, lambda s: s.get("recordState") == "Stored")
            assert stored["recordRevision"] == 1
            mark = json.loads((cluster.root / path / ".trainingjob").read_text())
            assert (mark["uid"], mark["namespace"]) == (job["metadata"]["uid"], "default")
        assert cluster.sections(one) == {(0, 0): "hello from 0\nbye\n"}
        assert cluster.sections(two) == dict.fromkeys([(0, 0), (0, 1)], "hello from 0\nbye\n")


async def test_the_logs_of_restarted_attempts_are_archived(cluster: Cluster) -> None:
    with cluster.operator():
        command = FAILS_TOGETHER.format(begun=cluster.root.parent / "begun")
        job = await cluster.apply(command, nodes=2, cleanPodPolicy="All")
        status = await cluster.settled(job)
        assert (status["phase"], status["attempt"]) == ("Succeeded", 1)
        assert cluster.sections(job) == {
            (attempt, rank): f"attempt {attempt}\n" for attempt in (0, 1) for rank in (0, 1)
        }
        await cluster.until(job, lambda s: s["active"] + s["terminating"] == 0)
        deadline = time.monotonic() + WAIT_S
        while await cluster.pods(job):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_the_logs_of_a_job_deleted_while_it_runs_are_archived(
    cluster: Cluster,
) -> None:
    with HttpEndpoint() as ledger, cluster.operator(TRAININGJOB_PERSIST__URL=ledger.url):
        job = await cluster.apply(FOR_EVER)
        await cluster.until(job, lambda s: s.get("ready") == 1)
        await asyncio.to_thread(_wait_for_output, cluster)
        await cluster.client.delete(f"{JOBS}/{job['metadata']['name']}")
        await cluster.gone(job)
        assert cluster.sections(job) == {(0, 0): "begun\n"}
        assert cluster.archive(job).read_text().splitlines()[-1].endswith(" running")


async def _has_said_of_each_log(cluster: Cluster, job: Object) -> bool:
    """True if the job has ended, and its status says of each log that it is archived or missing."""
    status = await cluster.status(job)
    _, reason, _ = logs(status)
    if not ended(status) or reason not in {"Archived", "Truncated"}:
        return False
    return {(1, 0), (1, 1)} <= set(cluster.sections(job))


async def test_each_log_is_archived_once_wherever_the_operator_crashes(cluster: Cluster) -> None:
    jobs = [
        await cluster.apply(FAILS_ONCE, nodes=2, cleanPodPolicy="All", suspend=True)
        for _ in range(2)
    ]
    for job in jobs:
        path = f"{JOBS}/{job['metadata']['name']}"
        await cluster.client.patch(path, {"spec": {"suspend": False}})
    lives = 0
    deadline = time.monotonic() + 3 * WAIT_S
    while not all([await _has_said_of_each_log(cluster, job) for job in jobs]):
        assert time.monotonic() < deadline
        lives += 1
        with cluster.operator() as operator:
            seen = _size(cluster)
            until = time.monotonic() + 3.0
            # It is killed as soon as it has written anything, even half a section.
            while time.monotonic() < until and (_size(cluster) == seen or lives > 12):
                await asyncio.sleep(0.001)
            operator.kill()
    assert lives > 1
    for job in jobs:
        found = cluster.sections(job)
        assert all(text == f"attempt {attempt}\n" for (attempt, _), text in found.items())
        # Of the attempt that failed, one rank may have been taken down before it had begun.
        assert {(1, 0), (1, 1)} < set(found)
        # An operator that crashed right then does not know that. It reports only logs that it knows of.
        _, reason, message = logs(await cluster.status(job))
        if reason == "Truncated":
            lost = re.match(
                r"the log of rank ([01]) of attempt 0 is missing: the pod was deleted before",
                message,
            )
            assert lost is not None, message
            assert (0, int(lost[1])) not in found


async def test_of_a_long_log_the_newest_ten_mebibytes_are_kept(cluster: Cluster) -> None:
    with cluster.operator():
        job = await cluster.apply(LONG)
        status = await cluster.settled(job)
        (text,) = cluster.sections(job).values()
        numbers = [int(line) for line in text.splitlines()]
        assert numbers == list(range(numbers[0], 1_000_001))
        assert LIMIT - 100 < len(text) + len("[rank 0] ") * len(numbers) <= LIMIT
        assert logs(status)[:2] == ("True", "Truncated")
        assert "are left out" in logs(status)[2]


async def test_jobs_run_without_the_log_volume(cluster: Cluster) -> None:
    with cluster.operator():
        cluster.root.rename(cluster.root.with_name("elsewhere"))
        cluster.root.mkdir()  # the directory where the volume was mounted
        begun = time.monotonic()
        job = await cluster.apply(HELLO, nodes=2, cleanPodPolicy="All")
        status = await cluster.settled(job)
        assert status["phase"] == "Succeeded"
        assert logs(status)[:2] == ("False", "VolumeUnavailable")
        assert time.monotonic() - begun < WAIT_S
        assert list(cluster.root.iterdir()) == []


def _wait_for_output(cluster: Cluster) -> None:
    """Wait until the node has stored the trainer's line."""
    deadline = time.monotonic() + WAIT_S
    pods = cluster.node.root / "pods"
    while not _has_output(pods):
        assert time.monotonic() < deadline, list(pods.rglob("*"))
        time.sleep(0.05)


def _has_output(pods: Path) -> bool:
    try:
        return any(b"begun" in f.read_bytes() for f in pods.rglob("logs/**/*") if f.is_file())
    except FileNotFoundError:  # the folder of an earlier job's pod has gone meanwhile
        return False


def _size(cluster: Cluster) -> int:
    return sum(file.stat().st_size for file in cluster.root.glob("job_*.log"))


async def test_the_log_of_a_trainer_is_archived_before_its_side_containers_are_stopped(
    cluster: Cluster,
) -> None:
    beside = {"name": "proxy", "image": "i", "command": ["sh", "-c", FOR_EVER]}
    trainer = {"name": "trainer", "image": "i", "command": ["sh", "-c", HELLO]}
    template = {"spec": {"containers": [beside, trainer]}}
    with cluster.operator():
        job = await cluster.apply(HELLO, template=template, cleanPodPolicy="None")

        status = await cluster.settled(job)
        assert (status["phase"], status["exitCode"], status["restarts"]) == ("Succeeded", 0, 0)
        assert logs(status)[:2] == ("True", "Archived")
        assert cluster.sections(job) == {(0, 0): "hello from 0\nbye\n"}
        assert "running" not in cluster.archive(job).read_text().splitlines()[-1]
        deadline = time.monotonic() + WAIT_S
        while await cluster.pods(job):
            assert time.monotonic() < deadline, "the side container runs on"
            await asyncio.sleep(0.05)
