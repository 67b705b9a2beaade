"""Evicted, rejected and drained pods: disruption or failure, and the effect on the job."""

from typing import Any

from tests.support.apiserver.api import Api, condition
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

FAIL_ON_DISRUPTION = {
    "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}]
}

Object = dict[str, Any]


def killed(pod: Object) -> list[Object]:
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}
    return [
        {
            "name": pod["spec"]["containers"][0]["name"],
            "image": "example/mnist:1.0",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": {"exitCode": 137, "reason": "Error", **times}},
        }
    ]


async def test_an_eviction_for_the_pods_own_storage_limit_is_a_failure(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("greedy", backoff_limit=1))
    for attempt in (0, 1):
        [pod] = await api.wait_for_pods("greedy", 1, attempt=attempt)
        await api.start_pod(pod)
        status = {"phase": "Failed", "reason": "Evicted", "message": "over its limit of 1Gi"}
        await api.set_pod_status(pod, status | {"containerStatuses": killed(pod)})

    failed = await api.wait_for_phase("greedy", "Failed")

    outcome = condition(failed, "Failed")
    assert outcome["reason"] == "BackoffLimitExceeded"
    assert "failed (Evicted: over its limit of 1Gi)" in outcome["message"]
    assert (failed["restarts"], failed["disruptions"]) == (1, 0)


async def test_pods_rejected_by_nodes_use_no_retry_up_to_a_limit(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("rejected", backoff_limit=0, disruptionLimit=1))
    for attempt in (0, 1):
        [pod] = await api.wait_for_pods("rejected", 1, attempt=attempt)
        status = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no device"}
        await api.set_pod_status(pod, status)

    failed = await api.wait_for_phase("rejected", "Failed")

    outcome = condition(failed, "Failed")
    assert outcome["reason"] == "DisruptionLimitExceeded"
    assert "was rejected by its node (UnexpectedAdmissionError: no device)" in outcome["message"]
    assert (failed["restarts"], failed["disruptionsSinceProgress"]) == (0, 1)


async def evict(api: Api, pod: Object) -> None:
    """Evict a pod as a drain does."""
    metadata = {"name": pod["metadata"]["name"], "namespace": api.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{api.namespace}/pods/{metadata['name']}/eviction"
    await api.client.create(path, body)


async def test_a_failure_policy_rule_for_disruptions_matches_an_evicted_pod_once_it_has_ended(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("drained", nodes=2, podFailurePolicy=FAIL_ON_DISRUPTION))
    first, second = await api.wait_for_pods("drained", 2)
    for pod in (first, second):
        await api.bind_pod(pod)
        await api.start_pod(pod)
    await api.wait_for_phase("drained", "Running")

    await evict(api, first)

    announced = await api.wait_for_job("drained", lambda s: s["terminating"] == 1)
    assert (announced["attempt"], announced["phase"]) == (0, "Running")
    message = condition(announced, "PodsReady")["message"]
    assert "was disrupted (EvictionByEvictionAPI); podFailurePolicy is evaluated" in message
    # The node's last two status updates follow each other at once: the pod is not observed in between.
    await api.set_pod_status(first, {"phase": "Failed", "containerStatuses": killed(first)})
    await api.delete_pod(first, grace_s=0)

    failed = await api.wait_for_phase("drained", "Failed")
    outcome = condition(failed, "Failed")
    assert outcome["reason"] == "PodFailurePolicy"
    assert "rule 0 of podFailurePolicy fails the job" in outcome["message"]
    assert (failed["exitCode"], failed["attempt"], failed["restarts"]) == (137, 0, 0)
    assert failed["disruptions"] == 0
