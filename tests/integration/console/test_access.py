"""Log-in, cookies and RBAC: users with different rights see and do in the console what the API server permits."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.integration.console.conftest import listed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from trainingjob_sandbox.apiserver.reviews import Account

ADMIN = "planted-secret-of-an-admin"
READER = "planted-secret-of-a-reader." + "x" * 5000
"""Longer than one cookie may be."""

STRANGER = "planted-secret-of-a-stranger"
ALL = (ADMIN, READER, STRANGER)

pytestmark = pytest.mark.sandbox_only


@pytest.fixture
async def token_console(api: Api) -> AsyncIterator[ConsoleUnderTest]:
    """Run a console with a log-in, and an API server with two users."""
    accounts = api.server.inside.server.accounts.by_token
    accounts["admin"] = Account("admin")  # the kubeconfig of the tests and of the console
    accounts[ADMIN] = Account("ada")
    accounts[READER] = Account(
        "rita", namespaces=frozenset({api.namespace}), verbs=frozenset({"get", "list", "create"})
    )
    try:
        async with running_console(api.server, auth="token") as console:
            yield console
    finally:
        accounts.clear()


@asynccontextmanager
async def browser_of(console: ConsoleUnderTest, token: str) -> AsyncIterator[ConsoleUnderTest]:
    """Return a new client with its own cookies, logged in."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        browser = ConsoleUnderTest(console.console, console.url, session)
        answer = await browser.post("/api/login", {"token": token})
        assert answer.status == 204, answer
        yield browser


async def test_each_user_sees_and_does_only_what_rbac_permits(
    api: Api, token_console: ConsoleUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await api.apply(make_job("mine"))
    other = f"{api.namespace}-other"
    core = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}
    await api.client.create("/api/v1/namespaces", core)
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{other}/trainingjobs"
    await api.client.create(path, make_job("theirs", namespace=other))
    names = {other, api.namespace}

    def ours(answer: Any) -> list[str]:
        return sorted(row["name"] for row in answer["items"] if row["namespace"] in names)

    async with browser_of(token_console, ADMIN) as ada, browser_of(token_console, READER) as rita:
        both = await listed(ada, lambda answer: len(ours(answer)) == 2)
        assert set(both["namespaces"]) >= names
        one = await listed(rita, lambda answer: ours(answer) == ["mine"])
        assert (one["total"], one["namespaces"]) == (1, [api.namespace])
        theirs = next(row for row in both["items"] if row["name"] == "theirs")
        mine = one["items"][0]
        assert (await rita.get(f"/api/jobs/{theirs['uid']}")).status == 404
        assert (await ada.get(f"/api/jobs/{theirs['uid']}")).status == 200
        detail = (await rita.get(f"/api/jobs/{mine['uid']}")).json
        assert detail["rights"] == {"patch": False, "delete": False, "create": True, "logs": True}
        session = (await rita.get("/api/session")).json
        assert session["user"]["name"] == "rita"
        assert (session["namespaces"], session["loginNeeded"]) == ([api.namespace], False)
        assert (await ada.get("/api/session")).json["namespaces"] is None
        refused = await rita.post("/api/actions", {"action": "suspend", "jobs": [mine]})
        [result] = refused.json["results"]
        assert (refused.status, result["ok"]) == (200, False)
        assert 'User "rita" cannot patch' in result["message"]
        assert (await rita.post("/api/logout", {})).status == 204
        assert (await rita.get("/api/jobs")).status == 401
    await api.client.delete(f"/api/v1/namespaces/{other}")
    assert not [secret for secret in ALL if secret[:20] in caplog.text]


async def test_a_log_out_in_one_tab_closes_the_sockets_of_all_tabs_with_that_token(
    token_console: ConsoleUnderTest,
) -> None:
    async with browser_of(token_console, ADMIN) as ada:
        tabs = [await token_console.socket(ADMIN) for _ in range(2)]
        other = await token_console.socket(READER)
        assert [tab.status for tab in (*tabs, other)] == [101] * 3
        for tab in (*tabs, other):
            await tab.send({"type": "sub", "id": 1, "kind": "jobs"})
        assert (await ada.post("/api/logout", {})).status == 204
        for tab in tabs:
            while await tab.receive() is not None:
                pass
            assert (tab.close_code, tab.close_reason) == (1008, "logged-out")
        await other.send({"type": "unsub", "id": 1})
        assert (await other.receive_kind("end"))["reason"] == "unsubscribed"
        for tab in (*tabs, other):
            tab.close()


async def test_requests_without_a_valid_token_are_unauthorized(
    token_console: ConsoleUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/api/jobs", "/api/jobs/0-0"):
        assert (await token_console.get(path)).json["error"]["reason"] == "Unauthorized", path
    session = (await token_console.get("/api/session")).json
    assert (session["user"], session["loginNeeded"], session["namespaces"]) == (None, True, [])
    for token in (STRANGER, "two words", "", "x" * 20_000):
        answer = await token_console.post("/api/login", {"token": token})
        assert answer.status in (400, 401), token
        assert "Set-Cookie" not in answer.headers
        assert not token or token not in answer.text
    assert STRANGER not in caplog.text


async def test_invalid_tokens_evict_no_user_from_the_cache_and_no_token_is_stored(
    token_console: ConsoleUnderTest,
) -> None:
    async with browser_of(token_console, ADMIN) as ada:
        owners = ada.console.components.access.reviews.owners
        for number in range(300):
            bearer = {"Authorization": f"Bearer {STRANGER}-{number}"}
            assert (await token_console.get("/api/about", headers=bearer)).status == 401
        assert (len(owners.answers), len(owners.refusals)) == (1, owners.refusals.limit)
        assert (await ada.get("/api/about")).status == 200
        assert "name='ada'" in repr(vars(owners.answers))
        assert ADMIN not in repr(vars(owners.answers)) + repr(vars(owners.refusals))


async def test_a_token_in_a_header_needs_no_cookie(token_console: ConsoleUnderTest) -> None:
    bearer = {"Authorization": f"Bearer {ADMIN}"}
    assert (await token_console.get("/api/jobs", headers=bearer)).status == 200
    body: dict[str, Any] = {
        "action": "stop",
        "jobs": [{"namespace": "a", "name": "b", "uid": "c"}],
    }
    # No page of another origin can send such a header, so it needs no Origin.
    answer = await token_console.request("POST", "/api/actions", json=body, headers=bearer)
    assert answer.json["results"][0]["message"] == "it no longer exists"


async def test_the_cookie_is_host_only_and_http_only(token_console: ConsoleUnderTest) -> None:
    async def cookie(**headers: str) -> str:
        answer = await token_console.post("/api/login", {"token": ADMIN}, headers=headers)
        assert answer.status == 204, answer
        return answer.headers["Set-Cookie"]

    plain = await cookie()
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(plain.split("; "))
    behind = await cookie(**{"X-Forwarded-Proto": "https"})
    assert behind.startswith("__Host-trainingjob-0=")
    assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/"} <= set(behind.split("; "))
    assert "Domain" not in behind
    elsewhere = {"Host": "jobs.example.com", "Origin": "http://jobs.example.com"}
    refused = await token_console.post("/api/login", {"token": ADMIN}, headers=elsewhere)
    assert refused.status == 403
    assert "plain HTTP" in refused.json["error"]["message"]


@pytest.mark.usefixtures("token_console")  # the server knows its users
async def test_two_consoles_on_ports_of_one_host_have_separate_log_ins(api: Api) -> None:
    users = {"ada": ADMIN, "rita": READER}
    async with (
        running_console(api.server, auth="token") as first,
        running_console(api.server, auth="token") as second,
        # As browsers do, it sends a cookie to all ports of a host.
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        tabs = [ConsoleUnderTest(each.console, each.url, session) for each in (first, second)]
        for tab, token in zip(tabs, users.values(), strict=True):
            assert (await tab.post("/api/login", {"token": token})).status == 204
        seen = [(await tab.get("/api/session")).json["user"]["name"] for tab in tabs]
        assert seen == list(users)
        assert (await tabs[0].post("/api/logout", {})).status == 204
        shown = [(await tab.get("/api/session")).json["loginNeeded"] for tab in tabs]
        assert shown == [True, False]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "trainingjob-80-0"),
        ("localhost:8070", "trainingjob-8070-0"),
        ("[::1]", "trainingjob-80-0"),
        ("[::1]:8071", "trainingjob-8071-0"),
        ("localhost:8070;a=b", "trainingjob-80-0"),
    ],
)
async def test_the_name_of_the_cookie_over_plain_http_contains_the_port(
    token_console: ConsoleUnderTest, host: str, name: str
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    answer = await token_console.post("/api/login", {"token": ADMIN}, headers=headers)
    assert answer.headers["Set-Cookie"].startswith(f"{name}=")


@pytest.mark.parametrize(
    ("forwarded", "taken"),
    [
        (None, True),
        ("https", True),
        ("wss", True),
        ("http", False),
        ("ws", False),
        ("http, https", False),
    ],
)
@pytest.mark.usefixtures("token_console")  # the server knows its users
async def test_the_scheme_forwarded_by_a_proxy_overrides_the_settings(
    api: Api, forwarded: str | None, taken: bool
) -> None:
    name = {"Host": "jobs.example.com"}
    said = {} if forwarded is None else {"X-Forwarded-Proto": forwarded}
    origins = ["https://jobs.example.com"]
    async with running_console(api.server, auth="token", origins=origins) as console:
        headers = name | said | {"Origin": "https://jobs.example.com"}
        answer = await console.post("/api/login", {"token": ADMIN}, headers=headers)
        assert answer.status == (204 if taken else 403), answer
        cookie = answer.headers.get("Set-Cookie", "")
        assert cookie.startswith("__Host-trainingjob-0=") is taken
        if not taken:
            assert "plain HTTP" in answer.json["error"]["message"]
            assert cookie == ""


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
async def test_requests_from_another_origin_are_rejected(
    console: ConsoleUnderTest, origin: str
) -> None:
    for path in ("/api/actions", "/api/login", "/api/logout"):
        answer = await console.post(path, {}, headers={"Origin": origin})
        assert answer.status == 403, path
        bare = await console.request("POST", path, json={})
        assert bare.status == 403, path
    form = await console.request(
        "POST",
        "/api/actions",
        data="{}",
        headers={"Origin": console.url, "Content-Type": "text/plain"},
    )
    assert form.status == 415
    rebound = await console.get("/api/jobs", headers={"Host": "evil.example"})
    assert rebound.status == 403
