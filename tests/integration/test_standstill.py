"""SIGSTOP for several intervals: work that became due meanwhile is done once."""

import asyncio
import time
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.apiserver.retention import finish, wait_for_sweep
from tests.support.processes.operator import OperatorProcess, stopped, sweeping
from tests.support.volume.volume import everything_below

STOPPED_S = 6.0
TTL_S = 10


def runs(operator: OperatorProcess) -> int:
    return operator.log().count("Cleanup: run started")


async def test_an_operator_resumed_after_sigstop_causes_no_burst_and_no_early_deletion(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path
) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    with sweeping(own_api_server, own_api, tmp_path, root, max_age="1h") as operator:
        await wait_for_sweep(own_api, "default")
        young = root / f"job_{uuid4()}"
        young.mkdir()
        (young / "checkpoint").write_text("of a job that is gone")
        for name, ttl_s in (("due", TTL_S), ("kept", 3600)):
            await finish(own_api, name, ttlSecondsAfterFinished=ttl_s)
            await own_api.wait_for_phase(name, "Succeeded")
        ended_at = datetime.fromisoformat((await own_api.job("due"))["status"]["completionTime"])
        before = everything_below(root / young.name)

        with stopped(operator):
            so_far, until = runs(operator), time.monotonic() + STOPPED_S
            while time.monotonic() < until:
                await asyncio.sleep(0.1)
            assert runs(operator) == so_far
            assert not await own_api.job_is_gone("due")
            woken_at = time.monotonic()  # not after it: the test itself may be late to look
        async with asyncio.timeout(90):
            while runs(operator) < so_far + 4:
                await asyncio.sleep(0.02)
        # One at once for the six that were due, then one a second. A burst would be all four at once.
        assert time.monotonic() - woken_at > 1.5

        async with asyncio.timeout(90):
            while not await own_api.job_is_gone("due"):
                await asyncio.sleep(0.05)
        assert time.time() >= ended_at.timestamp() + TTL_S, "before its time"
        assert not await own_api.job_is_gone("kept")
        assert everything_below(root / young.name) == before
        status = await wait_for_sweep(own_api, "default")
        assert status["totals"]["errors"] == 0
    assert "this is a bug" not in operator.log()
