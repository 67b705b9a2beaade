"""The life cycle of a job, with the operator as a process; the test plays the kubelet.

It plays the scheduler, too. Unbound pods disappear at once when they are deleted; pods that a test has
bound remain, as on a cluster, until the test terminates them.
"""

import asyncio
from typing import Any

from tests.support.apiserver.api import Api, condition
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

Object = dict[str, Any]


def environment(pod: Object) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0]["env"]}


def names(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods]


async def start_all(
    api: Api, job: str, count: int, attempt: int = 0, *, bound: bool = False
) -> list[Object]:
    pods = await api.wait_for_pods(job, count, attempt=attempt)
    for pod in pods:
        if bound:
            await api.bind_pod(pod)
        await api.start_pod(pod)
    await api.wait_for_phase(job, "Running")
    return pods


async def test_a_job_of_one_pod_runs_and_completes(operator: OperatorProcess, api: Api) -> None:
    job = await api.apply(make_job("one"))

    [pod] = await api.wait_for_pods("one", 1)
    uid8 = job["metadata"]["uid"][:8]
    assert names([pod]) == [f"one-{uid8}-0-0"]
    assert pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["enableServiceLinks"] is False
    assert environment(pod)["TRAININGJOB_NAME"] == "one"
    pending = await api.wait_for_job("one", lambda s: s.get("launchedAttempt") == 0)
    assert pending["phase"] == "Pending"
    assert (pending["active"], pending["restarts"], pending["attempt"]) == (1, 0, 0)
    assert condition(pending, "PodsReady")["status"] == "False"

    await api.start_pod(pod)
    running = await api.wait_for_phase("one", "Running")
    assert condition(running, "PodsReady")["reason"] == "PodsReady"
    assert running["startTime"]

    await api.finish_pod(pod)
    done = await api.wait_for_phase("one", "Succeeded")
    assert condition(done, "Complete")["reason"] == "CompletionsReached"
    assert condition(done, "Finished")["status"] == "True"
    assert (done["exitCode"], done["completedIndexes"], done["succeeded"]) == (0, "0", 1)
    assert done["completionTime"]
    assert names(await api.pods("one")) == names([pod])  # cleanPodPolicy Running: it has ended


async def test_the_ranks_of_a_torch_job_find_each_other(
    operator: OperatorProcess, api: Api
) -> None:
    job = await api.apply(make_job("pair", nodes=2, framework="Torch"))

    pods = await api.wait_for_pods("pair", 2)
    service = f"pair-{job['metadata']['uid'][:8]}"
    master = f"{service}-0-0.{service}.{api.namespace}.svc"
    for rank, pod in enumerate(pods):
        variables = environment(pod)
        assert variables["MASTER_ADDR"] == master
        assert variables["MASTER_PORT"] == "29500"
        assert (variables["RANK"], variables["WORLD_SIZE"]) == (str(rank), "2")
        assert variables["PET_NODE_RANK"] == str(rank)
        assert pod["spec"]["hostname"] == pod["metadata"]["name"]
        assert pod["spec"]["subdomain"] == service
    found = await api.client.get(f"/api/v1/namespaces/{api.namespace}/services/{service}")
    assert found["spec"]["clusterIP"] == "None"
    assert found["spec"]["publishNotReadyAddresses"] is True


async def test_a_failed_rank_restarts_all_ranks_as_one(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("again", nodes=2))
    first = await start_all(api, "again", 2)

    await api.finish_pod(first[1], 3, message="out of luck")

    second = await start_all(api, "again", 2, attempt=1)
    assert names(await api.pods("again")) == names(second)
    status = await api.job("again")
    assert status["status"]["restarts"] == 1
    assert status["status"]["disruptions"] == 0
    for pod in second:
        await api.finish_pod(pod)
    done = await api.wait_for_phase("again", "Succeeded")
    assert (done["attempt"], done["completedIndexes"]) == (1, "0-1")


async def test_the_next_attempt_waits_until_all_pods_have_terminated(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("held", nodes=2))
    [stays, fails] = await start_all(api, "held", 2, bound=True)

    await api.finish_pod(fails, 3)

    await api.wait_for_job("held", lambda s: (s["attempt"], s["terminating"]) == (1, 1))
    await api.apply(make_job("witness", suspend=True))
    await api.wait_for_phase("witness", "Suspended")
    [left] = await api.pods("held")
    assert names([left]) == names([stays])
    assert left["metadata"]["deletionTimestamp"]

    await api.finish_pod(stays, 143)
    await api.delete_pod(stays, grace_s=0)

    await start_all(api, "held", 2, attempt=1)
    status = (await api.job("held"))["status"]
    assert (status["restarts"], status["disruptions"]) == (1, 0)


async def test_the_next_attempt_does_not_wait_for_a_pod_that_a_finalizer_keeps(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("kept", nodes=2))
    [stays, fails] = await start_all(api, "kept", 2, bound=True)
    path = f"/api/v1/namespaces/{api.namespace}/pods/{stays['metadata']['name']}"
    await api.client.patch(path, {"metadata": {"finalizers": ["example.com/keeper"]}})
    try:
        await api.finish_pod(stays, 1)
        await api.finish_pod(fails, 3)

        await start_all(api, "kept", 2, attempt=1)

        status = await api.wait_for_job(
            "kept", lambda s: "example.com/keeper" in condition(s, "PodsReady")["message"]
        )
        assert stays["metadata"]["name"] in condition(status, "PodsReady")["message"]
        assert (await api.client.get(path))["metadata"]["deletionTimestamp"]
    finally:
        await api.client.patch(path, {"metadata": {"finalizers": None}})


async def test_a_job_without_restarts_left_fails_with_code_and_message(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("broken", nodes=2, backoff_limit=0))
    pods = await start_all(api, "broken", 2)

    await api.finish_pod(pods[1], 3, message="out of luck")

    failed = await api.wait_for_phase("broken", "Failed")
    outcome = condition(failed, "Failed")
    assert outcome["reason"] == "BackoffLimitExceeded"
    assert "rank 1" in outcome["message"]
    assert "exited with code 3" in outcome["message"]
    assert "out of luck" in outcome["message"]
    assert failed["exitCode"] == 3
    left = await api.wait_for_pods("broken", 1)  # the one that ran is cleaned up
    assert names(left) == names(pods[1:])


async def test_a_suspended_job_has_no_pods_and_resumes_as_a_new_attempt(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("pause", nodes=2))
    await start_all(api, "pause", 2)

    await api.patch_job("pause", {"spec": {"suspend": True}})
    suspended = await api.wait_for_phase("pause", "Suspended")
    await api.wait_for_pods("pause", 0)
    assert condition(suspended, "Suspended")["status"] == "True"
    assert "startTime" not in suspended

    await api.patch_job("pause", {"spec": {"suspend": False}})
    pods = await start_all(api, "pause", 2, attempt=1)
    assert [p["metadata"]["labels"]["trainingjob.dev/attempt"] for p in pods] == ["1", "1"]
    resumed = (await api.job("pause"))["status"]
    assert condition(resumed, "Suspended")["reason"] == "Resumed"
    assert (resumed["restarts"], resumed["disruptions"]) == (0, 0)


async def test_a_job_created_suspended_starts_with_attempt_zero(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("later", suspend=True))
    await api.wait_for_phase("later", "Suspended")
    assert await api.pods("later") == []

    await api.patch_job("later", {"spec": {"suspend": False}})

    await api.wait_for_pods("later", 1, attempt=0)


async def test_stop_ends_a_job_as_cancelled_and_stays_latched(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("stop", nodes=2))
    await start_all(api, "stop", 2)

    await api.patch_job("stop", {"spec": {"shutdown": "Stop"}})
    latched = await api.wait_for_job("stop", lambda s: bool(s.get("shutdown")))
    await api.patch_job("stop", {"spec": {"shutdown": None}})

    cancelled = await api.wait_for_phase("stop", "Cancelled")
    assert latched["shutdown"]["mode"] == "Stop"
    assert cancelled["shutdown"] == latched["shutdown"]
    assert condition(cancelled, "Cancelled")["reason"] == "Stopped"
    assert condition(cancelled, "Finished")["reason"] == "Stopped"
    assert await api.pods("stop") == []


async def test_a_stopped_job_is_cancelled_once_its_pods_have_terminated(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("slowly"))
    [pod] = await start_all(api, "slowly", 1, bound=True)

    await api.patch_job("slowly", {"spec": {"shutdown": "Stop"}})
    stopping = await api.wait_for_job("slowly", lambda s: s["terminating"] == 1)
    assert stopping["phase"] == "Stopping"
    await api.finish_pod(pod, 0)  # it was asked to stop: that it exits with 0 is no success
    await api.delete_pod(pod, grace_s=0)

    await api.wait_for_phase("slowly", "Cancelled")
    assert await api.pods("slowly") == []


async def test_terminate_ends_a_job_at_once(operator: OperatorProcess, api: Api) -> None:
    await api.apply(make_job("term"))
    await start_all(api, "term", 1)

    await api.patch_job("term", {"spec": {"shutdown": "Terminate"}})

    cancelled = await api.wait_for_phase("term", "Cancelled")
    assert condition(cancelled, "Cancelled")["reason"] == "Terminated"


async def test_the_pods_of_a_deleted_job_are_deleted(operator: OperatorProcess, api: Api) -> None:
    await api.apply(make_job("gone", nodes=2))
    await start_all(api, "gone", 2)

    await api.delete_job("gone")

    await api.wait_for_pods("gone", 0)
    assert await api.job_is_gone("gone")


async def test_a_recreated_job_of_the_same_name_starts_with_a_new_status(
    operator: OperatorProcess, api: Api
) -> None:
    old = await api.apply(make_job("twin"))
    await start_all(api, "twin", 1)

    await api.delete_job("twin")
    new = await api.apply(make_job("twin"))

    uid8 = new["metadata"]["uid"][:8]
    async with asyncio.timeout(90):
        while names(await api.pods("twin")) != [f"twin-{uid8}-0-0"]:
            await asyncio.sleep(0.05)
    assert old["metadata"]["uid"] != new["metadata"]["uid"]
    # The pod exists before the status reports it.
    status = await api.wait_for_job("twin", lambda status: "launchedAttempt" in status)
    assert (status["launchedAttempt"], status["attempt"]) == (0, 0)


async def test_a_lost_rank_restarts_the_gang_and_uses_no_retry(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("lost", nodes=2, backoff_limit=0))
    first = await start_all(api, "lost", 2)

    await api.delete_pod(first[0], grace_s=0)

    await start_all(api, "lost", 2, attempt=1)
    status = (await api.job("lost"))["status"]
    assert (status["restarts"], status["disruptions"], status["attempt"]) == (0, 1, 1)


async def test_a_condition_names_what_keeps_a_pod_from_running(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("stuck"))
    [pod] = await api.wait_for_pods("stuck", 1)
    no_node = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }
    await api.set_pod_status(pod, {"conditions": [no_node]})

    status = await api.wait_for_job(
        "stuck", lambda s: condition(s, "PodsReady").get("reason") == "Unschedulable"
    )
    assert "Insufficient nvidia.com/gpu" in condition(status, "PodsReady")["message"]

    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    container = {
        "name": "trainer",
        "image": "x",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": waiting,
    }
    await api.set_pod_status(pod, {"conditions": [], "containerStatuses": [container]})

    status = await api.wait_for_job(
        "stuck", lambda s: condition(s, "PodsReady").get("reason") == "ImagePull"
    )
    assert "no such image" in condition(status, "PodsReady")["message"]
    assert status["phase"] == "Pending"


async def test_a_full_quota_leaves_the_job_pending_and_is_retried_with_backoff(
    operator: OperatorProcess, api: Api
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    path = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    await api.client.create(path, quota)
    async with asyncio.timeout(90):
        while not (await api.client.get(f"{path}/none")).get("status", {}).get("hard"):
            await asyncio.sleep(0.05)

    await api.apply(make_job("queue", nodes=2))

    status = await api.wait_for_job(
        "queue", lambda s: condition(s, "PodsReady").get("reason") == "QuotaExceeded"
    )
    assert "exceeded quota: none" in condition(status, "PodsReady")["message"]
    assert status["phase"] == "Pending"
    assert "startTime" not in status
    assert await api.pods("queue") == []


async def test_a_permanently_rejected_pod_fails_its_job(
    operator: OperatorProcess, api: Api
) -> None:
    job = make_job("invalid")
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "no-such-volume", "mountPath": "/data"}]
    await api.apply(job)

    failed = await api.wait_for_phase("invalid", "Failed", patience_s=30)

    assert condition(failed, "Failed")["reason"] == "InvalidPodTemplate"
    assert "no-such-volume" in condition(failed, "Failed")["message"]


async def test_a_foreign_pod_with_a_ranks_name_is_not_modified(
    operator: OperatorProcess, api: Api
) -> None:
    job = await api.apply(make_job("mine", suspend=True))
    name = f"mine-{job['metadata']['uid'][:8]}-0-0"
    foreign = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/pods", foreign)

    await api.patch_job("mine", {"spec": {"suspend": False}})

    status = await api.wait_for_job(
        "mine", lambda s: condition(s, "PodsReady").get("reason") == "PodNameConflict"
    )
    assert name in condition(status, "PodsReady")["message"]
    pod = await api.client.get(f"/api/v1/namespaces/{api.namespace}/pods/{name}")
    assert "deletionTimestamp" not in pod["metadata"]


async def test_a_job_managed_by_another_controller_is_ignored(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("theirs", managedBy="kueue.x-k8s.io/multikueue"))
    await api.apply(make_job("ours"))

    await api.wait_for_pods("ours", 1)  # events come in order: theirs was seen before
    assert await api.pods("theirs") == []
    assert (await api.job("theirs")).get("status") in (None, {})


async def test_every_transition_of_a_job_creates_an_event(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("story", backoff_limit=1))
    [pod] = await start_all(api, "story", 1)
    await api.finish_pod(pod, 1)
    [pod] = await start_all(api, "story", 1, attempt=1)
    await api.finish_pod(pod)
    await api.wait_for_phase("story", "Succeeded")

    async with asyncio.timeout(90):
        while len(events := await api.events("story")) < 4:
            await asyncio.sleep(0.05)
    kinds = {(e["reason"], e["type"]) for e in events}
    assert kinds == {
        ("AttemptStarted", "Normal"),
        ("PodFailed", "Warning"),
        ("CompletionsReached", "Normal"),
    }
