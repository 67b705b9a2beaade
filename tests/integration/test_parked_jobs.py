"""More suspended jobs in one namespace than the operator's limit, and an active job in another."""

import asyncio
from pathlib import Path
from uuid import uuid4

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

MAX_JOBS = 3
PARKED = [f"parked-{number}" for number in range(4 * MAX_JOBS)]


async def test_suspended_jobs_beyond_the_limit_do_not_use_another_namespaces_share(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    async with Api(api_server, f"other-{uuid4().hex[:8]}") as other:
        operator = OperatorProcess(
            api_server.operator_kubeconfig,
            tmp_path / "operator.log",
            TRAININGJOB_NAMESPACES=f"{api.namespace},{other.namespace}",
            TRAININGJOB_INDEX__MAX_JOBS=str(MAX_JOBS),
        )
        with operator:
            operator.wait_until_ready()
            for name in PARKED:
                await api.apply(make_job(name, suspend=True))
            await asyncio.gather(*(api.wait_for_phase(name, "Suspended") for name in PARKED))
            for number in range(MAX_JOBS - 1):
                await other.apply(make_job(f"live-{number}"))
            for number in range(MAX_JOBS - 1):
                await other.wait_for_pods(f"live-{number}", 1)

            operator.kill()
            operator.start()
            operator.wait_until_ready()
            assert f"following {MAX_JOBS - 1} jobs" in operator.log()
            await api.patch_job(PARKED[7], {"spec": {"suspend": False}})
            await api.wait_for_pods(PARKED[7], 1)

            # Active jobs use the whole limit; suspended jobs are still handled without being tracked.
            await api.patch_job(PARKED[8], {"spec": {"backoffLimit": 9}})
            await api.wait_for_job(PARKED[8], lambda status: status["observedGeneration"] == 2)
            await api.patch_job(PARKED[9], {"spec": {"shutdown": "Stop"}})
            await api.wait_for_phase(PARKED[9], "Cancelled")
            await api.delete_job(PARKED[10])
            await api.wait_until_gone(PARKED[10])
        assert "this is a bug" not in operator.log()
