"""The API client against a server with scripted faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from trainingjob_sandbox.client import ApiClient, ApiError, Changed, Listed
from trainingjob_web.kubeconfig import Credentials, KubeconfigError, load_kubeconfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def client_of(handler: Handler, token: str = "") -> AsyncIterator[ApiClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with ApiClient(Credentials(server=server, token=token)) as client:
            yield client
    finally:
        await runner.cleanup()


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


async def test_a_refusal_has_status_reason_and_message() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(
            {"kind": "Status", "reason": "AlreadyExists", "message": 'pods "a" already exists'},
            status=409,
        )

    async with client_of(refuse) as client:
        with pytest.raises(ApiError, match='pods "a" already exists') as caught:
            await client.create("/api/v1/namespaces/n/pods", {})

    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")
    assert caught.value.conflict
    assert caught.value.permanent


async def test_an_answer_that_is_no_status_is_an_error_too() -> None:
    async def stumble(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>")

    async with client_of(stumble) as client:
        with pytest.raises(ApiError, match="bad gateway") as caught:
            await client.get("/api/v1/pods")

    assert caught.value.status == 502
    assert not caught.value.permanent


async def test_an_unreachable_server_is_an_error_without_a_status() -> None:
    async with ApiClient(Credentials(server="http://127.0.0.1:1")) as client:
        with pytest.raises(ApiError) as caught:
            await client.get("/api")

    assert caught.value.status == 0


async def test_a_list_is_read_page_by_page() -> None:
    async def page(request: web.Request) -> web.Response:
        first = "continue" not in request.query
        metadata = {"resourceVersion": "7"} | ({"continue": "next"} if first else {})
        items = [pod("a", 1)] if first else [pod("b", 2)]
        return web.json_response({"metadata": metadata, "items": items})

    async with client_of(page) as client:
        items, version = await client.list("/api/v1/pods")

    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert version == "7"


async def test_the_token_is_sent() -> None:
    async def show(request: web.Request) -> web.Response:
        return web.json_response({"sent": request.headers["Authorization"]})

    async with client_of(show, token="secret") as client:
        assert await client.get("/") == {"sent": "Bearer secret"}


async def watched(handler: Handler, count: int) -> list[str]:
    """Return the first results of a watch, as text."""
    words: list[str] = []
    async with client_of(handler) as client, asyncio.timeout(60):
        async for news in client.watch("/api/v1/pods"):
            match news:
                case Listed(items):
                    words.append("list " + ",".join(i["metadata"]["name"] for i in items))
                case Changed(kind, found):
                    words.append(f"{kind} {found['metadata']['name']}")
            if len(words) == count:
                break
    return words


class Server:
    """Answers lists with `pods`, and watches with one scripted stream after the other."""

    def __init__(self, *streams: list[dict[str, Any]]) -> None:
        self.streams = list(streams)
        self.versions: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response(
                {"metadata": {"resourceVersion": "10"}, "items": [pod("a", 5)]}
            )
        self.versions.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        for event in self.streams.pop(0) if self.streams else []:
            raw = json.dumps(event).encode() + b"\n"
            # In two pieces: an event need not come whole.
            await response.write(raw[:9])
            await response.write(raw[9:])
        return response


async def test_a_watch_lists_first_and_resumes_where_it_broke() -> None:
    server = Server(
        [
            {"type": "ADDED", "object": pod("b", 11)},
            {"type": "BOOKMARK", "object": pod("", 15)},
        ],
        [{"type": "DELETED", "object": pod("a", 16)}],
    )

    assert await watched(server.answer, 3) == ["list a", "ADDED b", "DELETED a"]
    assert server.versions == ["10", "15"]


async def test_a_watch_lists_again_when_its_version_has_expired() -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    server = Server(
        [{"type": "ERROR", "object": gone}], [{"type": "MODIFIED", "object": pod("a", 17)}]
    )

    assert await watched(server.answer, 3) == ["list a", "list a", "MODIFIED a"]


async def test_an_event_larger_than_the_buffers_arrives_whole() -> None:
    large = pod("large", 11) | {"data": "x" * 1_000_000}
    server = Server([{"type": "ADDED", "object": large}])

    assert await watched(server.answer, 2) == ["list a", "ADDED large"]


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: c, user: u}}
- {name: open, context: {cluster: c}}
- {name: broken, context: {cluster: none}}
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443/", certificate-authority: ca.pem}}
users:
- {name: u, user: {token: t, client-key-data: a2V5}}
"""


def test_a_kubeconfig_says_where_and_how(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    (tmp_path / "ca.pem").write_text("authority")

    assert load_kubeconfig(path) == Credentials(
        server="https://127.0.0.1:6443", ca=b"authority", key=b"key", token="t"
    )
    assert load_kubeconfig(path, "open").token == ""


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        ("[]", None, "is no kubeconfig"),
        ("{", None, "cannot read the kubeconfig"),
        ("kind: Config", None, "has no current-context"),
        (KUBECONFIG, "none", "no context is called 'none'"),
        (KUBECONFIG, "broken", "no cluster is called 'none'"),
        (KUBECONFIG, "here", "certificate-authority: .*No such file"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(
    tmp_path: Path, text: str, context: str | None, message: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)

    with pytest.raises(KubeconfigError, match=message):
        load_kubeconfig(path, context)
