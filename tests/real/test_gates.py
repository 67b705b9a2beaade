"""Scheduling gates on a real API server: the time of a gated pod does not count."""

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

pytestmark = pytest.mark.real_only

GATE = {"name": "example.com/queue"}


async def test_the_time_of_an_attempt_starts_when_its_last_gate_is_removed(
    operator: OperatorProcess, api: Api
) -> None:
    job = make_job("gated", nodes=2, preRunningDeadlineSeconds=600)
    job["spec"]["template"]["spec"]["schedulingGates"] = [GATE]
    await api.apply(job)
    pods = await api.wait_for_pods("gated", 2)
    held = await api.wait_for_job(
        "gated", lambda s: s.get("launchedAttempt") == 0 and "attemptStartTime" not in s
    )
    assert held["phase"] == "Pending"

    for pod in pods:
        path = f"/api/v1/namespaces/{api.namespace}/pods/{pod['metadata']['name']}"
        assert "attemptStartTime" not in (await api.job("gated"))["status"]
        await api.client.patch(path, {"spec": {"schedulingGates": None}})

    freed = await api.wait_for_job("gated", lambda s: "attemptStartTime" in s)
    assert (freed["attempt"], freed["restarts"]) == (0, 0)
