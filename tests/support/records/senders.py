"""Senders that note which records were acknowledged, and check that these are stored."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.support.records.records import make_record
from tests.support.records.service import Client

_PATIENCE_S = 120.0
_BUSY = 503


@asynccontextmanager
async def senders(client: Client, acknowledged: dict[str, int]) -> AsyncIterator[None]:
    """Eight senders, as many as the operator's, that note acknowledged records until they are stopped.

    They send new records, and then higher revisions of them.
    """
    prefix = f"round-{len(acknowledged)}"

    async def send(number: int) -> None:
        for count in itertools.count():
            uid = f"{prefix}-{number}-{count - count % 3}"
            try:
                answer = await client.put(make_record(uid, revision=count % 3 + 1, restarts=count))
            except aiohttp.ClientError:
                return
            if answer.status == 200:
                acknowledged[uid] = answer.json["revision"]
            else:
                await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(send(number)) for number in range(8)]
    yield
    await asyncio.gather(*tasks)


async def assert_kept(client: Client, acknowledged: dict[str, int]) -> None:
    """Check that each acknowledged record is stored, in that revision or a later one."""
    few = asyncio.Semaphore(8)

    async def look(uid: str, revision: int) -> None:
        async with few, asyncio.timeout(_PATIENCE_S):
            while (answer := await client.get(f"/api/v1/jobs/{uid}")).status == _BUSY:
                await asyncio.sleep(0.05)
        assert answer.status == 200, (uid, revision, answer)
        assert answer.json["revision"] >= revision

    await asyncio.gather(*(look(uid, revision) for uid, revision in acknowledged.items()))


async def until_acknowledged(acknowledged: dict[str, int], count: int) -> None:
    """Wait until this number of records was acknowledged."""
    async with asyncio.timeout(_PATIENCE_S):
        while len(acknowledged) < count:
            await asyncio.sleep(0.01)
