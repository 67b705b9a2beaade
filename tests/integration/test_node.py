"""The process node on the sandbox and on a real control plane."""

# Each test has its own event loop, so blocking it is harmless.
# ruff: noqa: ASYNC240

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.processes.process_node import ProcessNode
from tests.support.processes.processes import eventually, processes_mentioning
from tests.support.real.real_cluster import KUBECTL
from trainingjob_sandbox.client import ApiClient, ApiError, Changed, Listed
from trainingjob_sandbox.node.containers import timestamp

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
WAIT_S = 60

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)


@pytest.fixture
async def client(process_node: ProcessNode) -> AsyncIterator[ApiClient]:
    async with ApiClient.from_kubeconfig(process_node.kubeconfig) as connected:
        yield connected
        for name in [item["metadata"]["name"] for item in (await connected.list(PODS))[0]]:
            await delete(connected, name, grace_s=0)
        for job in (await connected.list(JOBS))[0]:
            await connected.delete(f"{JOBS}/{job['metadata']['name']}")
        await eventually(lambda: not processes_mentioning(str(process_node.root / "pods")))


async def create_job(client: ApiClient) -> Object:
    """Create a TrainingJob without an operator: pods without an owner would be garbage-collected."""
    template = {"spec": {"containers": [{"name": "trainer", "image": "i"}]}}
    job = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"generateName": "job-"},
        "spec": {"template": template},
    }
    metadata: Object = (await client.create(JOBS, job))["metadata"]
    return metadata


def owned(pod: Object, job: Object, *, rank: int = 0) -> Object:
    """The pod as the operator would have made it for a rank of that job."""
    owner = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "name": job["name"],
        "uid": job["uid"],
        "controller": True,
    }
    metadata = {
        "name": f"{job['name']}-{job['uid'][:8]}-0-{rank}",
        "labels": {"trainingjob.dev/job-uid": job["uid"]},
        "ownerReferences": [owner],
    }
    return pod | {"metadata": metadata}


def pod(command: list[str] | str, **fields: Any) -> Object:
    """A pod of one container; a `command` of one string is for the shell."""
    argv = ["sh", "-c", command] if isinstance(command, str) else command
    container = {key: value for key, value in fields.items() if key not in POD_FIELDS}
    spec = {key: value for key, value in fields.items() if key in POD_FIELDS}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {"name": "trainer", "image": "example/none:1", "command": argv, **container}
            ],
            **spec,
        },
    }


POD_FIELDS = {
    "hostname",
    "subdomain",
    "volumes",
    "initContainers",
    "restartPolicy",
    "activeDeadlineSeconds",
    "terminationGracePeriodSeconds",
    "nodeSelector",
    "nodeName",
    "tolerations",
}


async def create(client: ApiClient, what: Object) -> str:
    """Create a pod, for a job of its own unless it has metadata; its name."""
    if "metadata" not in what:
        what = owned(what, await create_job(client))
    return str((await client.create(PODS, what))["metadata"]["name"])


async def delete(client: ApiClient, name: str, *, grace_s: int | None = None) -> None:
    try:
        await client.delete(f"{PODS}/{name}", grace_period_s=grace_s)
    except ApiError as error:
        if not error.not_found:
            raise


async def wait_for(client: ApiClient, name: str, holds: Callable[[Object], object]) -> Object:
    """Return the pod once its status satisfies the condition; uses a watch."""
    last: Object = {}
    try:
        async with asyncio.timeout(WAIT_S):
            async for news in client.watch(PODS, field_selector=f"metadata.name={name}"):
                found = news.items if isinstance(news, Listed) else [news.object]
                for last in found:
                    if holds(last.get("status") or {}):
                        return last
    except TimeoutError:
        pytest.fail(f"{name} did not get there: {last.get('status')}")
    raise AssertionError("a watch does not end")


async def wait_gone(client: ApiClient, name: str) -> None:
    async with asyncio.timeout(WAIT_S):
        async for news in client.watch(PODS, field_selector=f"metadata.name={name}"):
            match news:
                case Listed([]) | Changed("DELETED", _):
                    return
                case _:
                    pass


def over(status: Object) -> bool:
    return status.get("phase") in {"Succeeded", "Failed"}


def running(status: Object) -> bool:
    return status.get("phase") == "Running"


def terminated(found: Object, container: int = 0) -> Object:
    state: Object = found["status"]["containerStatuses"][container]["state"]["terminated"]
    return state


async def finish(client: ApiClient, what: Object) -> Object:
    return await wait_for(client, await create(client, what), over)


async def logs(client: ApiClient, name: str, container: str = "trainer", **query: str) -> str:
    """Return a container log from the API server, which proxies it from the node."""
    credentials = client.credentials
    headers = {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}
    connector = aiohttp.TCPConnector(ssl=credentials.ssl_context() or True)
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector) as session,
        session.get(
            f"{credentials.server}{PODS}/{name}/log", params={"container": container, **query}
        ) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.text()


# --- the node ------------------------------------------------------------------------------------


async def test_the_node_is_ready_tainted_and_renews_its_lease(client: ApiClient) -> None:
    [node], _ = await client.list("/api/v1/nodes")
    name = node["metadata"]["name"]

    ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"
    assert node["spec"]["taints"] == [{"key": "trainingjob.dev/sandbox", "effect": "NoSchedule"}]
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == name
    assert set(node["status"]["capacity"]) >= {"cpu", "memory", "pods"}
    lease = await client.get(
        f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    )
    assert lease["spec"]["holderIdentity"] == name


# --- termination ---------------------------------------------------------------------------------


async def test_a_pod_that_succeeds(client: ApiClient) -> None:
    found = await finish(client, pod("exit 0"))

    status = found["status"]
    assert status["phase"] == "Succeeded"
    assert status["podIP"].startswith("127.")
    assert status["hostIP"] == "127.0.0.1"
    assert terminated(found)["reason"] == "Completed"
    assert terminated(found)["finishedAt"] >= terminated(found)["startedAt"]


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -KILL $$$$", 137)])
async def test_a_pod_that_fails_shows_its_exit_code(
    client: ApiClient, script: str, code: int
) -> None:
    found = await finish(client, pod(script))

    assert found["status"]["phase"] == "Failed"
    assert terminated(found)["exitCode"] == code
    assert terminated(found)["reason"] == "Error"


async def test_the_termination_message_is_what_the_container_wrote(client: ApiClient) -> None:
    found = await finish(client, pod("echo learning rate too high > /dev/termination-log; exit 1"))

    assert terminated(found)["message"] == "learning rate too high\n"


async def test_the_termination_message_may_come_from_the_log(client: ApiClient) -> None:
    what = pod(
        "echo out of patience >&2; exit 1", terminationMessagePolicy="FallbackToLogsOnError"
    )

    assert terminated(await finish(client, what))["message"] == "out of patience\n"


async def test_the_termination_message_is_bounded(client: ApiClient) -> None:
    found = await finish(
        client, pod("head -c 10000 /dev/zero | tr '\\0' x > /dev/termination-log")
    )

    assert terminated(found)["message"] == "x" * 4096


async def test_the_error_for_a_container_without_a_command_says_what_to_set(
    client: ApiClient,
) -> None:
    what = pod([])
    del what["spec"]["containers"][0]["command"]

    found = await finish(client, what)

    assert terminated(found)["reason"] == "StartError"
    assert "set `command` in the pod template" in terminated(found)["message"]


async def test_a_deadline_ends_the_pod(client: ApiClient) -> None:
    found = await finish(client, pod("sleep 600", activeDeadlineSeconds=1))

    assert found["status"]["reason"] == "DeadlineExceeded"
    assert terminated(found)["exitCode"] == 143


async def test_a_foreign_condition_is_not_overwritten(client: ApiClient) -> None:
    name = await create(client, pod("while [ ! -e $HOME/go ]; do sleep 0.05; done"))
    seen = await wait_for(client, name, running)
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        # A real cluster takes an old one back when no deletion has followed.
        "lastTransitionTime": timestamp(datetime.now(UTC)),
    }
    # As the eviction API does: first the condition, then the deletion.
    await client.patch(
        f"{PODS}/{name}/status",
        {"status": {"conditions": [*seen["status"]["conditions"], target]}},
    )

    # Its last status exists only briefly: the watch must be open before the pod ends.
    looks = asyncio.Event()

    def over_at_last(status: Object) -> bool:
        looks.set()
        return over(status)

    ends = asyncio.create_task(wait_for(client, name, over_at_last))
    await looks.wait()
    await delete(client, name, grace_s=5)

    found = await ends
    [kept] = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert kept.items() >= target.items()
    assert terminated(found)["exitCode"] == 143


# --- containers and volumes ----------------------------------------------------------------------


async def test_a_script_from_a_configmap_runs_at_its_mount_path(client: ApiClient) -> None:
    script = "import os; print(__file__, os.environ['WHO'], os.environ['RANK_PLUS'])"
    await client.create(
        "/api/v1/namespaces/default/configmaps",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "code"},
            "data": {"train.py": script, "who": "digits"},
        },
    )
    what = pod(
        ["python", "/opt/tj-code/$(FILE)"],
        env=[
            {"name": "RANK", "value": "4"},
            {"name": "RANK_PLUS", "value": "$(RANK)+1 $(NONE)"},
            {"name": "FILE", "value": "train.py"},
            {"name": "WHO", "valueFrom": {"configMapKeyRef": {"name": "code", "key": "who"}}},
        ],
        volumes=[{"name": "code", "configMap": {"name": "code"}}],
        volumeMounts=[{"name": "code", "mountPath": "/opt/tj-code"}],
    )

    found = await finish(client, what)

    name = found["metadata"]["name"]
    assert await logs(client, name) == "/opt/tj-code/train.py digits 4+1 $(NONE)\n"
    assert found["status"]["phase"] == "Succeeded"
    assert not Path("/opt/tj-code").exists()


async def test_a_pod_waits_for_a_configmap_and_starts_when_it_appears(client: ApiClient) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]
    name = await create(client, pod("echo $X", env=env))

    found = await wait_for(client, name, lambda s: "configmap" in str(s.get("containerStatuses")))
    waiting = found["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {
        "reason": "CreateContainerConfigError",
        "message": 'configmap "late" not found',
    }

    await client.create(
        "/api/v1/namespaces/default/configmaps",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "late"},
            "data": {"x": "here"},
        },
    )
    await wait_for(client, name, over)
    assert await logs(client, name) == "here\n"


async def test_init_containers_run_first_and_leave_their_files(client: ApiClient) -> None:
    mount: Object = {"volumeMounts": [{"name": "work", "mountPath": "/tj-work"}]}
    init = [
        {"name": f"step-{i}", "image": "i", "command": ["sh", "-c", script], **mount}
        for i, script in enumerate(
            ["echo 1 > /tj-work/a", "cat /tj-work/a; mv /tj-work/a /tj-work/b"]
        )
    ]
    what = pod(
        "cat /tj-work/b", initContainers=init, volumes=[{"name": "work", "emptyDir": {}}], **mount
    )

    found = await finish(client, what)

    assert found["status"]["phase"] == "Succeeded"
    assert [
        c["state"]["terminated"]["exitCode"] for c in found["status"]["initContainerStatuses"]
    ] == [0, 0]
    assert await logs(client, found["metadata"]["name"]) == "1\n"


async def test_a_failed_init_container_fails_the_pod(client: ApiClient) -> None:
    init = [{"name": "check", "image": "i", "command": ["sh", "-c", "exit 9"]}]

    found = await finish(client, pod("echo never", initContainers=init))

    assert found["status"]["phase"] == "Failed"
    assert found["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 9
    assert "waiting" in found["status"]["containerStatuses"][0]["state"]


VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "data"},
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/not/looked/at"},
    },
}


async def test_a_claim_outlives_its_pods(client: ApiClient, process_node: ProcessNode) -> None:
    if process_node.plane:  # whose scheduler waits for a volume behind the claim
        process_node.plane.request("/api/v1/persistentvolumes", VOLUME)
    await client.create(
        "/api/v1/namespaces/default/persistentvolumeclaims",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )
    what = pod(
        "echo saved > /training/model",
        volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        volumeMounts=[{"name": "v", "mountPath": "/training", "subPath": "job_1"}],
    )

    assert (await finish(client, what))["status"]["phase"] == "Succeeded"

    assert (process_node.root / "claims/default/data/job_1/model").read_text() == "saved\n"


async def test_a_container_restarts_where_the_policy_says_so(client: ApiClient) -> None:
    name = await create(client, pod("exit 1", restartPolicy="OnFailure"))

    found = await wait_for(client, name, lambda s: "CrashLoopBackOff" in str(s))

    state = found["status"]["containerStatuses"][0]
    assert found["status"]["phase"] == "Running"
    assert state["lastState"]["terminated"]["exitCode"] == 1


# --- deletion ------------------------------------------------------------------------------------


async def test_a_deleted_pod_gets_sigterm_and_its_log_is_readable_until_it_is_removed(
    client: ApiClient, process_node: ProcessNode
) -> None:
    script = (
        "trap 'echo saved > /training/stop; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    )
    what = pod(
        script,
        volumes=[{"name": "v", "hostPath": {"path": str(process_node.root)}}],
        volumeMounts=[{"name": "v", "mountPath": "/training"}],
    )
    name = await create(client, what)
    await wait_for(client, name, running)
    await logs_contain(client, name, "up")

    await delete(client, name)
    await wait_gone(client, name)

    assert (process_node.root / "stop").read_text() == "saved\n"
    assert not processes_mentioning(str(process_node.root / "pods"))


async def logs_contain(client: ApiClient, name: str, text: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while text not in await logs(client, name):
            await asyncio.sleep(0.02)


async def test_a_pod_that_ignores_sigterm_is_killed_with_all_its_daemons(
    client: ApiClient, process_node: ProcessNode
) -> None:
    script = (
        "trap '' TERM; (setsid sh -c 'sleep 600 & echo daemon' &) ; while :; do sleep 0.05; done"
    )
    name = await create(client, pod(script))
    await wait_for(client, name, running)
    await logs_contain(client, name, "daemon")
    began = time.monotonic()

    await delete(client, name, grace_s=1)
    await wait_gone(client, name)

    assert 0.9 < time.monotonic() - began < 10
    assert not processes_mentioning(str(process_node.root / "pods"))


async def test_a_shorter_grace_period_wins(client: ApiClient) -> None:
    name = await create(client, pod("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await wait_for(client, name, running)
    await logs_contain(client, name, "up")

    await delete(client, name, grace_s=300)
    await delete(client, name, grace_s=1)

    await wait_gone(client, name)


async def test_a_force_deleted_pod_is_killed_at_once(
    client: ApiClient, process_node: ProcessNode
) -> None:
    name = await create(client, pod("trap '' TERM; while :; do sleep 0.05; done"))
    await wait_for(client, name, running)

    await delete(client, name, grace_s=0)

    await eventually(lambda: not processes_mentioning(str(process_node.root / "pods")))
    await eventually(lambda: not any((process_node.root / "pods").iterdir()))


# --- logs ----------------------------------------------------------------------------------------


async def test_logs_can_be_limited_at_both_ends(client: ApiClient) -> None:
    name = (await finish(client, pod("seq 1 100")))["metadata"]["name"]

    assert await logs(client, name) == "".join(f"{i}\n" for i in range(1, 101))
    assert await logs(client, name, tailLines="2") == "99\n100\n"
    assert await logs(client, name, limitBytes="5") == "1\n2\n3"
    assert await logs(client, name, tailLines="0") == ""


async def test_logs_are_followed_to_the_end(client: ApiClient) -> None:
    name = await create(client, pod("echo one; sleep 0.5; echo two"))
    await wait_for(client, name, lambda s: running(s) or over(s))

    assert await logs(client, name, follow="true") == "one\ntwo\n"


@pytest.mark.skipif(not KUBECTL.exists(), reason="there is no kubectl here")
async def test_kubectl_follows_a_log_through_the_api_server(
    client: ApiClient, process_node: ProcessNode
) -> None:
    name = await create(client, pod("echo one; sleep 0.5; echo two"))
    await wait_for(client, name, lambda s: running(s) or over(s))

    process = await asyncio.create_subprocess_exec(
        *(str(KUBECTL), "--kubeconfig", str(process_node.kubeconfig), "logs", "-f", name),
        stdout=asyncio.subprocess.PIPE,
    )
    text, _ = await asyncio.wait_for(process.communicate(), WAIT_S)

    assert text == b"one\ntwo\n"


# --- ranks ---------------------------------------------------------------------------------------

MEET = """
import os, socket, sys
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
job, rank = os.environ["JOB"], os.environ["RANK"]
if rank == "0":
    with socket.create_server(address) as server:
        peer, _ = server.accept()
        with peer:
            heard = peer.recv(100).decode()
            peer.sendall(b"go")
    print(heard, flush=True)
    sys.exit(heard != f"{job} rank 1")
while True:
    try:
        with socket.create_connection(address, timeout=10) as server:
            server.sendall(f"{job} rank {rank}".encode())
            sys.exit(server.recv(2) != b"go")
    except ConnectionRefusedError:
        pass
"""


async def test_two_jobs_can_use_the_same_rendezvous_port_at_the_same_time(
    client: ApiClient,
) -> None:
    jobs = [await create_job(client) for _ in range(2)]
    names = []
    for rank in (1, 0):  # rank 1 first: it must know rank 0's address before rank 0 runs
        for job in jobs:
            service = f"{job['name']}-{job['uid'][:8]}"
            env = {
                "JOB": job["name"],
                "RANK": str(rank),
                "MASTER_ADDR": f"{service}-0-0.{service}.default.svc",
                "MASTER_PORT": "29500",
            }
            variables = [{"name": key, "value": value} for key, value in env.items()]
            names_of_rank = {"hostname": f"{service}-0-{rank}", "subdomain": service}
            what = pod(["python3", "-c", MEET], env=variables, **names_of_rank)
            names.append(await create(client, owned(what, job, rank=rank)))

    found = [await wait_for(client, name, over) for name in names]

    assert [one["status"]["phase"] for one in found] == ["Succeeded"] * 4
    assert len({one["status"]["podIP"] for one in found}) == 4


# --- rejected pods -------------------------------------------------------------------------------


async def test_a_pod_without_an_owner_is_rejected_with_a_reason(client: ApiClient) -> None:
    [node], _ = await client.list("/api/v1/nodes")
    what = pod("echo run", nodeName=node["metadata"]["name"])

    found = await finish(client, what | {"metadata": {"name": "foreign"}})

    assert found["status"]["reason"] == "NodeRefused"
    assert "TrainingJobs only" in found["status"]["message"]


async def test_a_pod_without_an_owner_stays_pending_and_kubectl_describe_shows_why(
    client: ApiClient, process_node: ProcessNode
) -> None:
    what = pod("echo run") | {"metadata": {"name": "foreign-and-free"}}
    name = await create(client, what)

    found = await wait_for(client, name, lambda s: "Unschedulable" in str(s))
    await finish(client, pod("exit 0"))  # by then it would run, too
    events: list[Object] = []
    async with asyncio.timeout(WAIT_S):
        while not events:  # a real scheduler writes them beside its work
            await asyncio.sleep(0.05)
            events, _ = await client.list(
                "/api/v1/namespaces/default/events", field_selector=f"involvedObject.name={name}"
            )

    assert found["status"]["phase"] == "Pending"
    assert "nodeName" not in found["spec"]
    [event] = events
    assert event["reason"] == "FailedScheduling"
    # To a real scheduler, a taint that the pods of TrainingJobs tolerate.
    real = process_node.plane is not None
    assert ("untolerated taint" if real else "TrainingJobs only") in event["message"]


@pytest.mark.sandbox_only
async def test_an_invalid_pod_blocks_no_other(client: ApiClient) -> None:
    """A real API server refuses more of it than ours, which takes this one."""
    volume = {"name": "v", "persistentVolumeClaim": ["not a map"]}
    name = await create(client, pod("exit 0", volumes=[volume]))

    await finish(client, pod("exit 0"))

    assert "nodeName" not in (await client.get(f"{PODS}/{name}"))["spec"]


async def test_a_pod_with_the_label_of_another_job_is_never_started(client: ApiClient) -> None:
    what = owned(pod("echo run"), await create_job(client))
    what["metadata"]["labels"] = {"trainingjob.dev/job-uid": (await create_job(client))["uid"]}
    name = await create(client, what)

    # The sandbox leaves it unbound; a real scheduler ignores owners, so that the node rejects it.
    found = await wait_for(client, name, lambda s: "runs pods of TrainingJobs only" in str(s))

    assert found["status"]["phase"] in {"Pending", "Failed"}
    assert not found["status"].get("containerStatuses")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"resources": {"limits": {"cpu": "10000"}}}, "1 Insufficient cpu."),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "1 Insufficient nvidia.com/gpu."),
        (
            {"nodeSelector": {"gpu": "yes"}},
            "1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]},
            'persistentvolumeclaim "none" not found.',
        ),
    ],
)
async def test_a_pod_too_large_for_the_node_reports_it(
    client: ApiClient, spec: Object, message: str
) -> None:
    name = await create(client, pod("exit 0", **spec))

    found = await wait_for(client, name, lambda s: "Unschedulable" in str(s))

    assert found["status"]["phase"] == "Pending"
    [scheduled] = [c for c in found["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert scheduled["status"] == "False"
    # A real scheduler also says that preemption would not help.
    assert scheduled["message"].startswith(f"0/1 nodes are available: {message}")


# --- other nodes ---------------------------------------------------------------------------------


def second_node(root: Path) -> tuple[str, ...]:
    return ("--root", str(root), "--name", "second")


@pytest.mark.parametrize("nonce", ["", "0" * 32])
def test_a_node_rejects_a_cluster_without_its_nonce(
    process_node: ProcessNode, tmp_path: Path, nonce: str
) -> None:
    with process_node.process(*second_node(tmp_path / "root"), nonce=nonce) as node:
        output, errors = node.communicate(timeout=WAIT_S)

    assert node.returncode == 1
    assert output == ""
    [line] = errors.splitlines()
    assert "no pod will run on this machine" in line
    assert not (tmp_path / "root").exists()


async def test_no_process_survives_a_killed_node_and_the_next_node_reports_the_lost_pods(
    client: ApiClient, process_node: ProcessNode, tmp_path: Path
) -> None:
    mark = await client.get("/api/v1/namespaces/kube-system/configmaps/trainingjob-sandbox")
    nonce = mark["data"]["nonce"]
    root = tmp_path / "root"
    script = "(setsid sleep 600 &); echo up; while :; do sleep 0.05; done"
    with process_node.process(*second_node(root), nonce=nonce) as node:
        assert node.stdout is not None
        assert await asyncio.to_thread(node.stdout.readline) == "ready\n"
        name = await create(client, pod(script, nodeName="second"))
        await wait_for(client, name, running)
        assert processes_mentioning(str(root / "pods"))

        node.kill()
        node.communicate()

    await eventually(lambda: not processes_mentioning(str(root)))
    with process_node.process(*second_node(root), nonce=nonce) as node:
        found = await wait_for(client, name, over)
        assert terminated(found)["reason"] == "ContainerStatusUnknown"
        assert terminated(found)["exitCode"] == 137

        node.send_signal(signal.SIGTERM)
        _, errors = node.communicate(timeout=WAIT_S)

    assert node.returncode == 0, errors
    second = await client.get("/api/v1/nodes/second")
    ready = next(c for c in second["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    await client.delete("/api/v1/nodes/second")
