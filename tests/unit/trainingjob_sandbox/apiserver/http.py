"""A plain HTTP client, so that the tests see the raw requests and responses."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

PATIENCE_S = 60.0
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class Answer(NamedTuple):
    """A response."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        return str(self.body["message"])


class Stream:
    """A watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> dict[str, Any] | None:
        """Return the next event; None at the end."""
        line = await asyncio.wait_for(self.response.content.readline(), PATIENCE_S)
        return json.loads(line) if line else None

    async def take(self, count: int) -> list[tuple[str, str]]:
        """Return the types and names of the next events."""
        events = [await self.next() for _ in range(count)]
        return [
            (event["type"], event["object"]["metadata"].get("name", ""))
            for event in events
            if event is not None
        ]

    async def rest(self) -> list[dict[str, Any]]:
        """Return all events until the end."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


class Client:
    """Sends requests."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and read the complete response."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = None if content is None else io.BytesIO(content)
        sent = {"Content-Type": content_type, **(headers or {})}
        async with self.session.request(method, path, data=data, headers=sent) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, headers=headers)

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def patch(self, path: str, body: Any, kind: str = "merge-patch+json") -> Answer:
        return await self.call("PATCH", path, body, content_type=f"application/{kind}")

    async def delete(self, path: str, body: Any = None) -> Answer:
        return await self.call("DELETE", path, body)

    @asynccontextmanager
    async def watch(self, path: str, query: str = "", **headers: str) -> AsyncIterator[Stream]:
        """Watch a collection."""
        url = f"{path}?watch=true&{query}"
        async with self.session.get(url, headers=headers) as response:
            yield Stream(response)


async def until(condition: Any) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)
