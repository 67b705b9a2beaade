"""The sandbox as a program: its start, and that it stops all of its processes when it ends."""

# Each test has its own event loop, so blocking it is harmless.
# ruff: noqa: ASYNC220

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.markers import quick
from tests.support.processes.processes import command_line, eventually, processes_mentioning
from trainingjob_sandbox.client import ApiClient
from trainingjob_sandbox.starter import Sandbox

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no /proc here"
)

COMMAND = [sys.executable, "-m", "trainingjob_cli", "sandbox", "up"]
PATIENCE_S = 90.0
STUBBORN = "trap '' TERM; while :; do sleep 0.05; done"


@contextmanager
def up(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Run a sandbox, yield it with its kubeconfig, and make sure that it ends."""
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().rstrip("\n"))
        finally:
            if process.poll() is None:
                process.kill()


async def run_pod(kubeconfig: Path, script: str, *, grace_s: int = 30) -> None:
    """Start a pod and wait until it runs."""
    api, jobs = "/apis/trainingjob.dev/v1alpha1", "namespaces/default/trainingjobs"
    container = {"name": "trainer", "image": "i", "command": ["sh", "-c", script]}
    job = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "job"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    async with ApiClient.from_kubeconfig(kubeconfig) as client:
        # No operator reconciles the job, but without it the pod would be garbage-collected.
        uid = (await client.create(f"{api}/{jobs}", job))["metadata"]["uid"]
        reference = {"apiVersion": job["apiVersion"], "kind": "TrainingJob", "name": "job"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"job-{uid[:8]}-0-0",
                "labels": {"trainingjob.dev/job-uid": uid},
                "ownerReferences": [{**reference, "uid": uid, "controller": True}],
            },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": grace_s,
                "containers": [container],
            },
        }
        pods = "/api/v1/namespaces/default/pods"
        path = f"{pods}/{(await client.create(pods, pod))['metadata']['name']}"
        while (await client.get(path))["status"]["phase"] != "Running":
            await asyncio.sleep(0.02)


async def test_the_first_line_is_the_kubeconfig_of_a_sandbox_that_is_ready() -> None:
    with up() as (process, kubeconfig):
        assert kubeconfig.is_absolute()
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        async with ApiClient.from_kubeconfig(kubeconfig) as client:
            [node], _ = await client.list("/api/v1/nodes")
            crds, _ = await client.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True"
        assert {crd["spec"]["names"]["kind"] for crd in crds} == {"TrainingJob", "RetentionPolicy"}

        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, rest) == (0, "")
    assert not kubeconfig.parent.exists()


@pytest.mark.parametrize(
    "number", quick([signal.SIGINT, signal.SIGTERM], in_quick=[signal.SIGTERM])
)
async def test_pods_end_with_the_sandbox(number: signal.Signals) -> None:
    with up() as (process, kubeconfig):
        await run_pod(kubeconfig, "(setsid sleep 600 &); exec sleep 600")
        assert processes_mentioning(str(kubeconfig.parent))

        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0
    assert not processes_mentioning(str(kubeconfig.parent))


@pytest.mark.long
async def test_pods_get_their_grace_period_at_most() -> None:
    with up("--grace", "30") as (process, kubeconfig):
        await run_pod(kubeconfig, STUBBORN, grace_s=1)
        began = time.monotonic()

        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)

    assert 0.9 < time.monotonic() - began < 10
    assert not processes_mentioning(str(kubeconfig.parent))


async def test_a_second_ctrl_c_kills_the_pods_at_once() -> None:
    with up("--grace", "600") as (process, kubeconfig):
        await run_pod(kubeconfig, STUBBORN, grace_s=600)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)

        process.send_signal(signal.SIGINT)

        assert process.wait(PATIENCE_S) == 0
    assert not processes_mentioning(str(kubeconfig.parent))


async def test_a_killed_sandbox_leaves_no_process() -> None:
    with up() as (process, kubeconfig):
        root = kubeconfig.parent
        await run_pod(kubeconfig, "trap '' TERM; (setsid sleep 600 &); while :; do sleep 1; done")

        process.kill()
        process.communicate()

        await eventually(lambda: not processes_mentioning(str(root)))
    shutil.rmtree(root)


async def test_the_sandbox_ends_when_its_node_ends() -> None:
    with up() as (process, kubeconfig):
        root = str(kubeconfig.parent)
        await run_pod(kubeconfig, "trap '' TERM; (setsid sleep 600 &); exec sleep 600")

        for pid in processes_mentioning(root):
            if "trainingjob_sandbox.node " in command_line(pid):
                os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert "the node ended unexpectedly, exit code -9; its last log lines:" in said
    await eventually(lambda: not processes_mentioning(root))


async def test_a_given_root_is_kept_without_the_pods_scratch(tmp_path: Path) -> None:
    with up("--root", str(tmp_path / "root")) as (process, kubeconfig):
        assert kubeconfig == tmp_path / "root" / "kubeconfig"
        await run_pod(kubeconfig, "exec sleep 600")

        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)

    left = sorted(path.name for path in (tmp_path / "root").iterdir())
    assert left == [".trainingjob-sandbox", "node.log"]
    with up("--root", str(tmp_path / "root")) as (_, again):
        assert again == kubeconfig


def refused(root: Path) -> str:
    """Return the error of a sandbox that must not start in this folder."""
    started = subprocess.run(
        [*COMMAND, "--root", str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (started.returncode, started.stdout) == (1, "")
    [line] = started.stderr.splitlines()
    return line


def test_a_folder_with_other_files_is_rejected_and_not_modified(tmp_path: Path) -> None:
    manifest = tmp_path / "pods" / "mine.yaml"
    manifest.parent.mkdir()
    manifest.touch()

    assert f"{tmp_path} is not empty and not a sandbox's folder" in refused(tmp_path)

    assert manifest.exists()


async def test_a_second_sandbox_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with up("--root", str(tmp_path / "root")) as (_, kubeconfig):
        assert "another sandbox runs in" in refused(tmp_path / "root")

        async with ApiClient.from_kubeconfig(kubeconfig) as client:
            assert len((await client.list("/api/v1/nodes"))[0]) == 1


async def test_the_sandbox_ends_with_its_parent_on_request(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "print(child.pid, child.stdout.readline().decode(), end='', flush=True)\n"
        "input()\n"
    )
    root = tmp_path / "root"
    arguments = [*COMMAND, "--die-with-parent", "--root", str(root)]
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid, _, kubeconfig = parent.stdout.readline().partition(" ")
        await run_pod(Path(kubeconfig.strip()), "exec sleep 600")

        parent.kill()
        parent.wait()

    await eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert not processes_mentioning(str(root))


async def test_a_sandbox_is_a_context_manager() -> None:
    with Sandbox() as sandbox:
        assert sandbox.kubeconfig.parent == sandbox.root
        async with ApiClient.from_kubeconfig(sandbox.kubeconfig) as client:
            await client.list("/apis/trainingjob.dev/v1alpha1/trainingjobs")

    assert not sandbox.root.exists()


async def test_resource_versions_increase_across_sandboxes() -> None:
    jobs = "/apis/trainingjob.dev/v1alpha1/trainingjobs"
    with Sandbox() as sandbox:
        async with ApiClient.from_kubeconfig(sandbox.kubeconfig) as client:
            _, before = await client.list(jobs)

    with Sandbox() as sandbox:
        async with ApiClient.from_kubeconfig(sandbox.kubeconfig) as client:
            _, after = await client.list(jobs)
            resumed = await client.get(f"{jobs}?watch=true&resourceVersion={before}")

    assert int(after) > int(before)
    assert (resumed["type"], resumed["object"]["code"]) == ("ERROR", 410)


def test_a_port_in_use_is_reported_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, check=False
        )

    assert (failed.returncode, failed.stdout) == (1, "")
    [line] = failed.stderr.splitlines()
    assert line.startswith("trainingjob sandbox up: ")
    assert str(port) in line
