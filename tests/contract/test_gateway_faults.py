"""The gateway's handling of late, malformed and missing responses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver.api import Api
from tests.support.apiserver.fault_proxy import Fault, FaultProxy
from trainingjob_api.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubernetesError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.kube import response_reader
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway

Object = dict[str, Any]
Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]
DEADLINE_S = 0.5
PATIENCE_S = 20 * DEADLINE_S
"""A call that ends in this time was ended by its deadline, even on a busy machine."""

WELL_S = 10.0
"""Time enough for a server that is well."""

KEY = JobKey("ml", "mnist")


# --- a real API server behind a proxy that breaks things --------------------------------------


@pytest.fixture
def proxy(api: Api, tmp_path: Path) -> Iterator[FaultProxy]:
    """A proxy before the API server under test."""
    with FaultProxy(api.server.kubeconfig, tmp_path) as running:
        yield running


@pytest.fixture
async def gateway(proxy: FaultProxy) -> AsyncIterator[Gateway]:
    """A gateway that goes through the proxy, with time enough for an API server that is well."""
    async with Gateway(await connect(str(proxy.kubeconfig)), timeout_s=WELL_S) as running:
        yield running


def pod(api: Api, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": api.namespace,
            "labels": {"trainingjob.dev/job-name": "mnist"},
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]},
    }


async def test_a_server_that_never_responds_times_out(api: Api, proxy: FaultProxy) -> None:
    proxy.add(Fault(lambda seen: str(seen) == "get trainingjobs", hang=True))
    deadline_s = 4 * DEADLINE_S  # the next request, which is to be answered, has no longer either
    async with Gateway(await connect(str(proxy.kubeconfig)), timeout_s=deadline_s) as hasty:
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            await hasty.get_job(JobKey(api.namespace, "absent"))
        took = time.monotonic() - began
        assert deadline_s <= took < PATIENCE_S
        assert caught.value.reason == "Timeout"
        assert f"no answer within {deadline_s:g} s to GET /apis/" in caught.value.message
        assert await hasty.get_job(JobKey(api.namespace, "absent")) is None, "the next one is well"


async def test_the_seconds_of_retry_after_are_read(
    api: Api, proxy: FaultProxy, gateway: Gateway
) -> None:
    fault = Fault(lambda seen: str(seen) == "create pods", status=429, message="too many requests")
    fault.headers["Retry-After"] = "7"
    proxy.add(fault)
    with pytest.raises(ThrottledError) as caught:
        await gateway.create_pod(pod(api, "one"))
    assert (caught.value.retry_after_s, caught.value.message) == (7, "too many requests")
    assert proxy.count("create pods") == 1, "the gateway itself tries nothing again"
    assert await gateway.get_pod(api.namespace, "one") is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, ForbiddenError),
        (409, ConflictError),
        (422, InvalidError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
async def test_a_rejection_keeps_the_servers_message_and_is_not_retried(
    api: Api, proxy: FaultProxy, gateway: Gateway, status: int, kind: type[KubernetesError]
) -> None:
    proxy.add(Fault(lambda seen: seen.verb == "delete", status=status, message="because"))
    with pytest.raises(kind) as caught:
        await gateway.delete_pod(api.namespace, "one", uid="u1")
    assert (caught.value.status, caught.value.message) == (status, "because")
    assert proxy.count("delete pods") == 1


async def test_a_lost_response_is_an_error_although_the_pod_was_created(
    api: Api, proxy: FaultProxy, gateway: Gateway
) -> None:
    proxy.add(Fault(lambda seen: str(seen) == "create pods", after=lambda: None))
    with pytest.raises(UnavailableError) as caught:
        await gateway.create_pod(pod(api, "one"))
    assert caught.value.reason == "ConnectionFailed"
    assert proxy.count("create pods") == 1, "sending it again is not the gateway's to decide"
    assert await gateway.get_pod(api.namespace, "one") is not None


async def test_an_unreachable_server_is_reported_at_once(
    proxy: FaultProxy, gateway: Gateway
) -> None:
    proxy.stop()
    with pytest.raises(UnavailableError) as caught:
        await gateway.get_job(KEY)
    assert caught.value.reason == "ConnectionFailed"
    proxy.start()
    assert await gateway.get_job(JobKey("default", "absent")) is None


async def test_a_list_with_an_expired_continue_token_is_not_taken_for_complete(
    api: Api, proxy: FaultProxy, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_reader, "MAX_ITEMS", 2)
    for number in range(3):
        await gateway.create_pod(pod(api, f"pod-{number}"))
    expired = Fault(lambda seen: str(seen) == "list pods", skip=1, status=410, reason="Expired")
    proxy.add(expired)
    pages = gateway.list_pods(api.namespace)
    first = await anext(pages)
    assert [one["metadata"]["name"] for one in first.items] == ["pod-0", "pod-1"]
    with pytest.raises(GoneError):
        await anext(pages)

    whole = [one async for page in gateway.list_pods(api.namespace) for one in page.items]
    assert len(whole) == 3


# --- a server that speaks no proper HTTP ------------------------------------------------------


@asynccontextmanager
async def talking_to(
    talk: Talk, folder: Path, *, timeout_s: float = WELL_S
) -> AsyncIterator[Gateway]:
    """A gateway to a server that answers every request like this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )
    )
    async with Gateway(await connect(str(path)), timeout_s=timeout_s) as gateway:
        yield gateway
    server.close()


def answering(body: bytes, *, length: int | None = None, status: str = "200 OK") -> Talk:
    """Send this body, and claim that it is so long."""

    async def talk(writer: asyncio.StreamWriter) -> None:
        length_told = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {length_told}\r\n\r\n".encode() + body)
        await writer.drain()

    return talk


async def drip(writer: asyncio.StreamWriter) -> None:
    """An answer that begins at once, and of which a byte comes now and then."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
    for _ in range(1000):
        await writer.drain()
        await asyncio.sleep(DEADLINE_S / 5)
        writer.write(b" ")


async def test_the_deadline_applies_to_the_whole_response(tmp_path: Path) -> None:
    async with talking_to(drip, tmp_path, timeout_s=DEADLINE_S) as gateway:
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            await gateway.get_job(KEY)
        assert DEADLINE_S <= time.monotonic() - began < PATIENCE_S
    assert caught.value.reason == "Timeout"


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (answering(b"<html>log in</html>"), "was not answered in JSON"),
        (answering(b""), "was not answered in JSON"),
        (answering(b'{"kind": "Train'), "was not answered in JSON"),
        (answering(b"\xff\xfe"), "was not answered in JSON"),
        (answering(b"[1, 2]"), "was not answered with an object"),
        (answering(b"null"), "was not answered with an object"),
        (answering(b"{}", length=1000), "GET /apis/"),
        (answering(b"<html>no</html>", status="400 Bad Request"), "<html>no</html>"),
        (answering(json.dumps({"message": "who?"}).encode(), status="401 No"), "who?"),
    ],
    ids=["html", "empty", "cut", "binary", "list", "null", "short", "400 of a proxy", "401"],
)
async def test_a_malformed_response_is_an_error(tmp_path: Path, talk: Talk, words: str) -> None:
    async with talking_to(talk, tmp_path) as gateway:
        with pytest.raises(UnavailableError) as caught:
            await gateway.get_job(KEY)
    assert words in caught.value.message
