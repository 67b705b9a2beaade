"""A job of a thousand ranks with large pods can be viewed by many users at the same time."""

import asyncio
from pathlib import Path

from tests.integration.console.conftest import listed
from tests.support.console.console_under_test import running_console
from tests.support.console.padded_pods import UID, padded_pods

RANKS = 1000


async def test_a_job_whose_pods_exceed_the_size_limit_of_a_response_is_shown(
    tmp_path: Path,
) -> None:
    async with (
        padded_pods(tmp_path, [17_500] * RANKS) as server,
        running_console(server.kubeconfig) as console,
    ):
        await listed(console, lambda answer: answer["total"] == 1)
        answers = await asyncio.gather(*(console.get(f"/api/jobs/{UID}") for _ in range(3)))
        for answer in answers:
            assert answer.status == 200, answer.text[:300]
            assert [each["rank"] for each in answer.json["ranks"]] == list(range(RANKS))
            assert answer.json["ranks"][-1]["pod"] == f"large-{RANKS - 1}"
        logs = await console.get(f"/api/jobs/{UID}/logs")
        assert logs.status == 200
