"""What the API server says of tokens: those that nobody knows yet wait in a line, which has an end."""

import asyncio
from pathlib import Path

import pytest

from tests.support.console.log_server import log_server
from trainingjob_console.access.reviews import Reviews
from trainingjob_console.errors import BusyError, UnauthorizedError


async def test_a_flood_of_unknown_tokens_is_refused_at_once(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        server.answers.clear()
        server.unknown = {f"nobody-{number}" for number in range(400)}
        reviews = Reviews(server.kube)
        asked = [asyncio.create_task(reviews.owner(token)) for token in server.unknown]
        await asyncio.sleep(0)  # each has begun, and has a place in the line or has none
        assert len(reviews.unknown) == 64
        assert len(reviews.owners._asked) == 64
        with pytest.raises(BusyError, match="too many log-ins"):
            await reviews.owner("anna")
        server.answers.set()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, UnauthorizedError) for each in ended) == 64
        assert len(reviews.unknown) == 0
        assert (await reviews.owner("anna")).name == "anna"
