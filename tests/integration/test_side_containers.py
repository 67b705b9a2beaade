"""Containers beside the main one neither keep a rank running nor decide its outcome."""

from typing import Any

from tests.support.apiserver.api import Api, condition
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

Object = dict[str, Any]

RUNS: Object = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def template(**main: Any) -> Object:
    trainer = {"name": "trainer", "image": "example/mnist:1.0", **main}
    return {"spec": {"containers": [{"name": "proxy", "image": "example/proxy:1.0"}, trainer]}}


def exited(code: int) -> Object:
    reason = "Error" if code else "Completed"
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}
    return {"terminated": {"exitCode": code, "reason": reason, **times}}


async def report(api: Api, pod: Object, phase: str, *, trainer: Object, proxy: Object) -> None:
    """The node says how both containers do."""
    statuses = [
        {
            "name": name,
            "image": f"example/{name}",
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for name, state in (("proxy", proxy), ("trainer", trainer))
    ]
    ready = "True" if phase == "Running" and "running" in trainer else "False"
    conditions = [{"type": "Ready", "status": ready}]
    status = {"phase": phase, "conditions": conditions, "containerStatuses": statuses}
    await api.set_pod_status(pod, status)


async def test_a_rank_completes_with_its_trainer_and_its_pod_is_stopped_gracefully(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("beside", nodes=2, template=template(), cleanPodPolicy="None"))
    first, second = await api.wait_for_pods("beside", 2)
    for pod in (first, second):
        await api.bind_pod(pod)
        await report(api, pod, "Running", trainer=RUNS, proxy=RUNS)
    await api.wait_for_phase("beside", "Running")

    await report(api, first, "Running", trainer=exited(0), proxy=RUNS)

    done = await api.wait_for_job("beside", lambda s: s["terminating"] == 1)
    assert (done["completedIndexes"], done["phase"]) == ("0", "Running")
    assert "container proxy of its pod" in condition(done, "PodsReady")["message"]
    [stopping] = [p for p in await api.pods("beside") if "deletionTimestamp" in p["metadata"]]
    assert stopping["metadata"]["name"] == first["metadata"]["name"]
    assert stopping["metadata"]["deletionGracePeriodSeconds"] == 30
    await report(api, first, "Failed", trainer=exited(0), proxy=exited(143))
    await api.delete_pod(first, grace_s=0)

    await report(api, second, "Running", trainer=exited(0), proxy=RUNS)

    complete = await api.wait_for_phase("beside", "Succeeded")
    assert (complete["exitCode"], complete["failed"], complete["attempt"]) == (0, 0, 0)
    assert complete["completedIndexes"] == "0-1"
    await api.wait_for_job("beside", lambda s: s["terminating"] == 1)


async def test_the_exit_code_of_a_side_container_fails_no_job(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("stray", template=template(), backoff_limit=0))
    [pod] = await api.wait_for_pods("stray", 1)

    await report(api, pod, "Failed", trainer=exited(0), proxy=exited(143))

    done = await api.wait_for_phase("stray", "Succeeded")
    assert (done["exitCode"], done["completedIndexes"]) == (0, "0")


async def test_a_failed_trainer_fails_the_job_while_another_container_still_runs(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("broken", template=template(), backoff_limit=0))
    [pod] = await api.wait_for_pods("broken", 1)

    await report(api, pod, "Running", trainer=exited(7), proxy=RUNS)

    failed = await api.wait_for_phase("broken", "Failed")
    assert (failed["exitCode"], failed["failed"]) == (7, 1)
    assert "exited with code 7 (Error)" in condition(failed, "Failed")["message"]
    await api.wait_for_pods("broken", 0)
