"""A job's status names what it waits for, and what blocked it when its deadline expired."""

from tests.support.apiserver.api import Api, condition
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess


async def test_a_job_that_waits_for_scheduling_gates_names_them(
    operator: OperatorProcess, api: Api
) -> None:
    job = make_job("gated")
    job["spec"]["template"]["spec"]["schedulingGates"] = [{"name": "example.com/quota"}]
    await api.apply(job)

    status = await api.wait_for_job(
        "gated", lambda s: condition(s, "PodsReady").get("reason") == "SchedulingGated"
    )

    assert "gates example.com/quota" in condition(status, "PodsReady")["message"]
    [pod] = await api.pods("gated")
    path = f"/api/v1/namespaces/{api.namespace}/pods/{pod['metadata']['name']}"
    await api.client.patch(path, {"spec": {"schedulingGates": []}})
    await api.finish_job("gated")
    await api.wait_for_phase("gated", "Succeeded")


async def test_the_message_of_an_expired_deadline_names_the_rank_that_did_not_run(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("late", preRunningDeadlineSeconds=1, backoff_limit=0))

    status = await api.wait_for_phase("late", "Failed")

    failed = condition(status, "Failed")
    assert failed["reason"] == "PreRunningDeadlineExceeded"
    assert "rank 0 is not running (pod late-" in failed["message"]
