"""Sidecars (init containers with `restartPolicy: Always`) as processes, on the sandbox and a real API server."""

# Each test has its own event loop, so blocking it is harmless.

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_node import (
    PODS,
    create,
    create_job,
    delete,
    owned,
    pod,
    wait_for,
    wait_gone,
)
from tests.support.processes.process_node import ProcessNode
from tests.support.processes.processes import eventually, processes_mentioning
from trainingjob_sandbox.client import ApiClient

Object = dict[str, Any]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)


@pytest.fixture
async def client(process_node: ProcessNode) -> AsyncIterator[ApiClient]:
    async with ApiClient.from_kubeconfig(process_node.kubeconfig) as connected:
        yield connected
        for name in [item["metadata"]["name"] for item in (await connected.list(PODS))[0]]:
            await delete(connected, name, grace_s=0)
        await eventually(lambda: not processes_mentioning(str(process_node.root / "pods")))


def sidecar(script: str, name: str = "side") -> Object:
    return init(script, name) | {"restartPolicy": "Always"}


def init(script: str, name: str = "init") -> Object:
    return {"name": name, "image": "i", "command": ["sh", "-c", script]}


def ended(status: Object, name: str) -> Object:
    """Return the terminated state of a container of the pod."""
    [found] = [
        each["state"]["terminated"]
        for each in [*status["initContainerStatuses"], *status["containerStatuses"]]
        if each["name"] == name
    ]
    return dict(found)


async def finished(client: ApiClient, what: Object) -> Object:
    name = await create(client, what)
    found = await wait_for(client, name, lambda s: s.get("phase") in {"Succeeded", "Failed"})
    return dict(found["status"])


def waits_for(path: Path) -> str:
    return f"until [ -e {path} ]; do sleep 0.05; done"


async def test_a_sidecar_runs_during_later_containers_and_stops_after_the_main_container(
    client: ApiClient, tmp_path: Path
) -> None:
    served, done = tmp_path / "served", tmp_path / "done"
    serve = f"trap '[ -e {done} ] && exit 3; exit 4' TERM; touch {served}; {waits_for(tmp_path / 'never')}"
    status = await finished(
        client,
        pod(
            f"{waits_for(served)}; sleep 0.2; touch {done}",
            initContainers=[sidecar(serve), init(waits_for(served))],
        ),
    )
    assert status["phase"] == "Succeeded"
    assert ended(status, "side")["exitCode"] == 3, "it was stopped before the main container"
    assert ended(status, "init")["exitCode"] == 0


async def test_sidecars_are_stopped_in_the_opposite_order(
    client: ApiClient, tmp_path: Path
) -> None:
    def serve(mine: str, other: str) -> str:
        """It returns 3 if the other one has ended before."""
        up, gone = tmp_path / mine, tmp_path / f"{other}-gone"
        leave = f"[ -e {gone} ] && exit 3; touch {tmp_path / mine}-gone; exit 4"
        return f"trap '{leave}' TERM; touch {up}; {waits_for(tmp_path / 'never')}"

    both = [sidecar(serve("a", "b"), "a"), sidecar(serve("b", "a"), "b")]
    ready = f"{waits_for(tmp_path / 'a')}; {waits_for(tmp_path / 'b')}; exit 7"
    status = await finished(client, pod(ready, initContainers=both))
    assert status["phase"] == "Failed"
    codes = [ended(status, name)["exitCode"] for name in ("a", "b", "trainer")]
    assert codes == [3, 4, 7]


async def test_the_exit_code_of_a_sidecar_is_ignored(client: ApiClient, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    # Without a pause the main container may be the first to end, and the sidecar be stopped.
    main = f"{waits_for(ran)}; sleep 0.5"
    what = pod(main, initContainers=[sidecar(f"touch {ran}; exit 5")])
    status = await finished(client, what)
    assert status["phase"] == "Succeeded"
    assert ended(status, "side")["exitCode"] == 5


async def test_a_failed_init_container_also_stops_the_sidecar(client: ApiClient) -> None:
    before = [sidecar("sleep 60"), init("exit 6")]
    status = await finished(client, pod(["true"], initContainers=before))
    assert status["phase"] == "Failed"
    assert ended(status, "init")["exitCode"] == 6
    assert ended(status, "side")["exitCode"] in {137, 143}


async def test_a_pod_that_is_deleted_stops_its_sidecar_after_the_main_container(
    client: ApiClient, tmp_path: Path
) -> None:
    done, seen, serves = tmp_path / "done", tmp_path / "seen", tmp_path / "serves"
    forever = waits_for(tmp_path / "never")
    serve = f"trap '[ -e {done} ] && touch {seen}; exit 0' TERM; touch {serves}; {forever}"
    train = f"trap 'sleep 0.3; touch {done}; exit 0' TERM; touch {tmp_path / 'up'}; {forever}"
    job = await create_job(client)
    what = owned(pod(train, initContainers=[sidecar(serve)]), job)
    name = await create(client, what)
    await eventually(lambda: serves.exists() and (tmp_path / "up").exists())

    await delete(client, name)
    await wait_gone(client, name)

    assert seen.exists()


async def test_a_sidecar_that_ignores_sigterm_is_killed_after_the_grace_period(
    client: ApiClient, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    deaf = f"trap '' TERM; touch {up}; {waits_for(tmp_path / 'never')}"
    what = pod(waits_for(up), initContainers=[sidecar(deaf)], terminationGracePeriodSeconds=1)
    status = await finished(client, what)
    assert status["phase"] == "Succeeded"
    assert ended(status, "side")["exitCode"] == 137
