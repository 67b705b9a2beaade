"""Another controller adds conditions to the status of a job while the operator runs it."""

from typing import Any

import pytest

from tests.support.apiserver.api import Api, condition
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from trainingjob_api.constants import MAX_CONDITIONS_OF_OTHERS
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]


def foreign(kind: str) -> Object:
    return {
        "type": kind,
        "status": "Unknown",
        "reason": "Asking",
        "message": "",
        "lastTransitionTime": "2026-01-31T13:00:00.123456+01:00",
    }


async def add_conditions(api: Api, job: str, *added: Object) -> None:
    """Add conditions to those that are there, as a controller of somebody else would."""
    while True:
        seen = await api.job(job)
        body = {
            "metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]},
            "status": {"conditions": [*seen["status"].get("conditions", []), *added]},
        }
        try:
            await api.client.patch(f"{api._jobs}/{job}/status", body)
        except ApiError as error:
            if not error.conflict:
                raise
        else:
            return


async def test_a_job_completes_and_keeps_foreign_conditions_unchanged(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("watched"))
    [pod] = await api.wait_for_pods("watched", 1)
    await api.wait_for_job("watched", lambda s: s.get("launchedAttempt") == 0)
    theirs = [foreign(f"example.com/No{i}") for i in range(MAX_CONDITIONS_OF_OTHERS)]

    await add_conditions(api, "watched", *theirs)
    await api.start_pod(pod)
    await api.wait_for_phase("watched", "Running")
    await api.finish_pod(pod)

    done = await api.wait_for_phase("watched", "Succeeded")
    assert condition(done, "Complete")["status"] == "True"
    left = [c for c in done["conditions"] if c["type"].startswith("example.com/")]
    assert left == theirs


async def test_foreign_conditions_beyond_the_limit_are_rejected(
    operator: OperatorProcess, api: Api
) -> None:
    await api.apply(make_job("crowded"))
    await api.wait_for_job("crowded", lambda s: s.get("launchedAttempt") == 0)
    theirs = [foreign(f"example.com/No{i}") for i in range(MAX_CONDITIONS_OF_OTHERS + 1)]

    with pytest.raises(ApiError, match="conditions can have types other than the operator's own"):
        await add_conditions(api, "crowded", *theirs)
