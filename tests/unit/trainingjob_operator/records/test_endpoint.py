"""One write against a scripted endpoint: the meaning of each response, and what is never done."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from trainingjob_api.errors import (
    EndpointUnauthorizedError,
    EndpointUnavailableError,
    RecordConflictError,
    RecordError,
    RecordRejectedError,
    SettingsError,
)
from trainingjob_operator.records.endpoint import MAX_ANSWER_BYTES, RecordWriter

UID = "11111111-aaaa-4bbb-8ccc-222222222222"
RECORD = {"uid": UID, "revision": 1, "name": "mnist"}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """Answers as a test says, and notes what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, dict(request.headers), json.loads(await request.read())))
        return await self._answer(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/jobs"


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    endpoint.port = runner.addresses[0][1]
    try:
        yield endpoint
    finally:
        await runner.cleanup()


@asynccontextmanager
async def writing(url: str, **settings: Any) -> AsyncIterator[RecordWriter]:
    writer = RecordWriter(url, **{"timeout_s": 5.0, **settings})
    try:
        yield writer
    finally:
        await writer.close()


def says(text: str | bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        body = text.encode() if isinstance(text, str) else text
        return web.Response(
            status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return answer


ECHO = json.dumps({"uid": UID, "revision": 1})


async def failure(answer: Answer, **settings: Any) -> RecordError:
    async with serving(answer) as endpoint, writing(endpoint.url, **settings) as writer:
        with pytest.raises(RecordError) as caught:
            await writer.write(RECORD)
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_an_answer_that_echoes_the_uid_is_success(status: int) -> None:
    async with serving(says(ECHO, status)) as endpoint, writing(endpoint.url) as writer:
        await writer.write(RECORD)
        await writer.write(RECORD)
    (path, headers, body), (_, again, _) = endpoint.seen
    assert path == f"/api/v1/jobs/{UID}"
    assert body == RECORD
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"].startswith(f"{UID}:1:")
    assert again["Idempotency-Key"] == headers["Idempotency-Key"]
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>please log in</html>",
        '{"uid": "11111111',
        '{"uid": "another"}',
        "[]",
        "null",
        '"' + UID + '"',
        "[" * 50_000,
        ECHO + " " * MAX_ANSWER_BYTES,
    ],
    ids=["empty", "html", "cut", "another", "list", "null", "text", "deep", "long"],
)
async def test_success_is_nothing_but_json_that_echoes_the_uid(body: str) -> None:
    error = await failure(says(body))
    assert isinstance(error, EndpointUnavailableError)
    assert "echoes the uid" in str(error)


async def test_of_an_endless_answer_no_more_is_read_than_proves_it() -> None:
    sent = 0

    async def pours(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 1_000_000_000:
            await response.write(b" " * 65_536)
            sent += 65_536
        return response

    error = await failure(pours)
    assert isinstance(error, EndpointUnavailableError)
    assert sent < 64 * 1024 * 1024, "what the sockets hold, and no more"


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_refusal_of_this_record_is_a_rejection(status: int) -> None:
    error = await failure(says("name:\n\x1b[31mtoo long" + "x" * 500, status))
    assert isinstance(error, RecordRejectedError)
    assert str(error).startswith(f"HTTP {status}: name:\\n\\x1b[31mtoo long")
    assert len(str(error)) < 250


async def test_other_content_under_this_revision_is_a_conflict() -> None:
    assert isinstance(await failure(says("", 409)), RecordConflictError)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_token_does_not_reject_the_record(status: int) -> None:
    assert isinstance(await failure(says("", status)), EndpointUnauthorizedError)


@pytest.mark.parametrize("status", [404, 405, 408, 410, 425, 429, 500, 502, 503, 504])
async def test_any_other_status_means_the_endpoint_is_unavailable(status: int) -> None:
    assert isinstance(await failure(says("", status)), EndpointUnavailableError)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("-3", 0.0), ("nan", 0.0), ("1e9", 300.0), ("tomorrow", 0.0)],
)
async def test_retry_after_is_passed_on_within_reason(header: str, seconds: float) -> None:
    error = await failure(says("", 503, Retry_After=header))
    assert isinstance(error, EndpointUnavailableError)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    async with serving(says(ECHO)) as elsewhere:
        error = await failure(says("", status, Location=elsewhere.url), token_file=token)
    assert isinstance(error, EndpointUnavailableError)
    assert elsewhere.seen == []


async def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says("", 500)) as proxy, serving(says(ECHO)) as endpoint:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        async with writing(endpoint.url) as writer:
            await writer.write(RECORD)
    assert proxy.seen == []


async def test_the_deadline_is_total_and_not_one_for_each_byte() -> None:
    async def drips(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in ECHO:
            await response.write(byte.encode())
            await asyncio.sleep(0.1)
        return response

    begun = time.monotonic()
    error = await failure(drips, timeout_s=0.5)
    assert "no answer within 0.5 s" in str(error)
    assert time.monotonic() - begun < 2.5


async def test_an_unreachable_endpoint_is_reported_without_the_url() -> None:
    async with serving(says("")) as endpoint:
        url = endpoint.url
    async with writing(url) as writer:
        with pytest.raises(EndpointUnavailableError) as caught:
            await writer.write(RECORD)
    assert "cannot be reached (ClientConnectorError)" in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


async def test_an_answer_that_breaks_off_is_no_success() -> None:
    async def breaks_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(ECHO.encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    assert isinstance(await failure(breaks_off), EndpointUnavailableError)


async def test_the_token_is_read_again_when_it_changes(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    async with (
        serving(says(ECHO)) as endpoint,
        writing(endpoint.url, token_file=token) as writer,
    ):
        await writer.write(RECORD)
        token.write_text("two\n")
        await writer.write(RECORD)
    assert [headers["Authorization"] for _, headers, _ in endpoint.seen] == [
        "Bearer one",
        "Bearer two",
    ]


def knows(*tokens: str) -> Answer:
    """Answers 401 to every token but these."""

    async def answer(request: web.Request) -> web.StreamResponse:
        known = request.headers.get("Authorization") in {f"Bearer {token}" for token in tokens}
        return await says(ECHO if known else "no", 200 if known else 401)(request)

    return answer


@pytest.mark.parametrize("known", [("old",), ("new",), ("old", "new")])
async def test_a_token_is_rotated_by_two_lines_whichever_side_is_first(
    tmp_path: Path, known: tuple[str, ...]
) -> None:
    token = tmp_path / "token"
    token.write_text("new\r\n\nold\n")
    async with (
        serving(knows(*known)) as endpoint,
        writing(endpoint.url, token_file=token) as writer,
    ):
        await writer.write(RECORD)
        tries = len(endpoint.seen)
        await writer.write(RECORD)
    assert tries == (1 if "new" in known else 2)
    assert len(endpoint.seen) == tries + 1, "the one that was accepted is tried first"
    shown = {headers["Authorization"] for _, headers, _ in endpoint.seen}
    assert shown <= {"Bearer new", "Bearer old"}


async def test_a_receiver_that_accepts_none_of_the_tokens_is_sent_each_once(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("one\ntwo\n")
    async with (
        serving(knows()) as endpoint,
        writing(endpoint.url, token_file=token) as writer,
    ):
        with pytest.raises(EndpointUnauthorizedError):
            await writer.write(RECORD)
    assert len(endpoint.seen) == 2


@pytest.mark.parametrize("content", ["", " \n\n", "a\0b", "ключ"])
async def test_a_file_without_a_token_is_reported(tmp_path: Path, content: str) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    error = await failure(says(ECHO), token_file=token)
    assert isinstance(error, EndpointUnauthorizedError)
    assert str(token) in str(error)


async def test_a_record_that_is_too_large_is_stored_without_its_spec() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        too_large = len(await request.read()) > 1_000
        return await says("too large" if too_large else ECHO, 413 if too_large else 200)(request)

    async with serving(answer) as endpoint, writing(endpoint.url) as writer:
        await writer.write(RECORD | {"spec": {"text": "я" * 1_000}})
        assert endpoint.seen[-1][2] == RECORD | {"spec": None, "specOmitted": True}
        keys = [headers["Idempotency-Key"] for _, headers, _ in endpoint.seen]
        assert len(set(keys)) == 2
        with pytest.raises(RecordRejectedError, match="413"):
            await writer.write(RECORD | {"name": "n" * 1_000, "spec": {}})


async def test_a_token_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    error = await failure(says(ECHO), token_file=tmp_path / "nowhere")
    assert isinstance(error, EndpointUnauthorizedError)
    assert "cannot read the token" in str(error)


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(trusted)
    async with serving(says(ECHO), context) as endpoint:
        url = endpoint.url.replace("http:", "https:")
        async with writing(url) as writer:
            with pytest.raises(EndpointUnavailableError):
                await writer.write(RECORD)
        async with writing(url, ca_file=trusted) as writer:
            await writer.write(RECORD)
    assert len(endpoint.seen) == 1


def test_certificates_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TRAININGJOB_PERSIST__CA_FILE"):
        RecordWriter("https://example.com", timeout_s=1.0, ca_file=tmp_path / "nowhere")
