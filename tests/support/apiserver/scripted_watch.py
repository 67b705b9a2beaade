"""A server of pods whose list and watch responses are scripted by a test, byte for byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from trainingjob_operator.kube.connection import Connection


@dataclass(frozen=True)
class Answer:
    """One response to a watch.

    Attributes:
        lines: of the body; an object is written as JSON, bytes as they are.
        then: what follows the last line.
        status: of HTTP; from 400 on the body is a Status with this `message`.
    """

    lines: tuple[Any, ...] = ()
    then: Literal["end", "break", "silence"] = "end"
    status: int = 200
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)


SILENCE = Answer(then="silence")


@dataclass
class ScriptedPods:
    """The server.

    Attributes:
        connection: to it.
        watches: the answers of the next watches, in order; then comes `SILENCE`.
        lists: the same for lists, each with one line; then comes an empty one of this `version`.
        asked: the query of each request, with its `path` and the `token` that came with it.
    """

    connection: Connection
    watches: list[Answer] = field(default_factory=list)
    lists: list[Answer] = field(default_factory=list)
    version: int = 100
    asked: list[dict[str, str]] = field(default_factory=list)

    def watched_from(self) -> list[str]:
        """Return the resource versions from which watches were requested."""
        return [each["resourceVersion"] for each in self.asked if "watch" in each]

    def listed(self) -> int:
        """Return the number of list requests."""
        return sum("watch" not in each for each in self.asked)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until this is true."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.005)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Respond as scripted."""
        query = dict(request.query)
        token = request.headers.get("Authorization", "")
        self.asked.append(query | {"path": request.path, "token": token})
        if "watch" not in query:
            answer = self.lists.pop(0) if self.lists else self._empty_list()
        else:
            answer = self.watches.pop(0) if self.watches else SILENCE
        if answer.status >= 400:
            body = {"kind": "Status", "message": answer.message, "code": answer.status}
            return web.json_response(body, status=answer.status, headers=answer.headers)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for line in answer.lines:
            data = line if isinstance(line, bytes) else json.dumps(line).encode()
            await response.write(data + b"\n")
        if answer.then == "silence":
            await asyncio.sleep(3600)
        if answer.then == "break" and request.transport is not None:
            request.transport.abort()
        return response

    def _empty_list(self) -> Answer:
        metadata = {"resourceVersion": str(self.version)}
        return Answer(({"kind": "PodList", "metadata": metadata, "items": []},))


def pod_event(kind: str, version: int, name: str = "p") -> dict[str, Any]:
    """An event of a watch."""
    return {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": str(version)}}}


def error_event(code: int) -> dict[str, Any]:
    """An ERROR event of a watch."""
    return {
        "type": "ERROR",
        "object": {"kind": "Status", "code": code, "message": f"it is {code}"},
    }


@asynccontextmanager
async def scripted_pods() -> AsyncIterator[ScriptedPods]:
    """Run the server."""
    pods = ScriptedPods(Connection(Configuration(host=""), "default"))
    app = web.Application()
    app.router.add_get("/{path:.*}", pods.answer)
    async with TestServer(app) as server:
        pods.connection.configuration.host = str(server.make_url("")).rstrip("/")
        yield pods
