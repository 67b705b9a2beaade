"""Fixtures: a namespace on the API server under test, and a console for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.console.console_under_test import ConsoleUnderTest, running_console


@pytest.fixture
async def console(api: Api) -> AsyncIterator[ConsoleUnderTest]:
    """Run a console without a log-in, for the test's own namespace."""
    async with running_console(api.server, namespaces=[api.namespace]) as found:
        yield found


async def listed(console: ConsoleUnderTest, holds: Callable[[Any], bool], query: str = "") -> Any:
    """Poll the list of jobs until the predicate is true; return the list."""
    async with asyncio.timeout(30):
        while True:
            answer = await console.get(f"/api/jobs{query}")
            assert answer.status == 200, answer
            if holds(answer.json):
                return answer.json
            await asyncio.sleep(0.02)


async def until_indexed(console: ConsoleUnderTest, job: Any) -> None:
    """Wait until the console's index contains a job."""
    async with asyncio.timeout(30):
        while console.console.components.index.get(job["metadata"]["uid"]) is None:
            await asyncio.sleep(0.01)
