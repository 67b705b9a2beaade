"""Cluster-wide figures are visible only to users with the right to them, and internals to no others."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from trainingjob_console.sockets.limits import Limits
from trainingjob_sandbox.apiserver.reviews import Account

ADMIN, MONITOR, USER = "token-of-ada", "token-of-a-monitor", "token-of-rita"


@pytest.fixture
async def token_console(api: Api) -> AsyncIterator[ConsoleUnderTest]:
    """Run a console with a log-in, an API server with three users, and an operator that does not respond."""
    accounts = api.server.inside.server.accounts.by_token
    accounts["admin"] = Account("admin")
    accounts[ADMIN] = Account("ada")
    accounts[MONITOR] = Account("monitor", verbs=frozenset({"get"}))
    accounts[USER] = Account("rita", namespaces=frozenset({api.namespace}))
    try:
        async with running_console(
            api.server,
            limits=Limits(recheck=0.2),
            auth="token",
            operator_metrics=["http://127.0.0.1:1/metrics"],
        ) as console:
            yield console
    finally:
        accounts.clear()


async def get(console: ConsoleUnderTest, path: str, token: str) -> tuple[int, Any]:
    answer = await console.get(path, headers={"Authorization": f"Bearer {token}"})
    return answer.status, answer.json


@pytest.mark.sandbox_only
async def test_figures_require_the_right_to_list_all_jobs_or_to_get_the_metrics(
    token_console: ConsoleUnderTest,
) -> None:
    for token, may in ((ADMIN, True), (MONITOR, True), (USER, False)):
        status, figures = await get(token_console, "/api/housekeeping", token)
        assert (status, "series" in figures) == ((200, True) if may else (403, False))
        status, about = await get(token_console, "/api/about", token)
        assert (status, bool(about["limits"]), bool(about["version"])) == (200, may, True)
        page = await token_console.socket(token)
        await page.send({"type": "sub", "id": 1, "kind": "housekeeping"})
        first = await page.receive()
        assert first is not None
        assert (first["type"], first["id"]) == ("delta" if may else "error", 1)
        assert may or (first["reason"], "/metrics" in first["message"]) == ("Forbidden", True)
        page.close()


@pytest.mark.sandbox_only
async def test_an_open_page_gets_no_figures_after_the_right_is_revoked(
    api: Api, token_console: ConsoleUnderTest
) -> None:
    page = await token_console.socket(MONITOR)
    await page.send({"type": "sub", "id": 1, "kind": "housekeeping"})
    assert (await page.receive_kind("delta"))["id"] == 1
    api.server.inside.server.accounts.by_token[MONITOR] = Account("monitor", verbs=frozenset())
    assert (await page.receive_kind("resync"))["id"] == 1
    await page.send({"type": "sub", "id": 2, "kind": "housekeeping"})
    assert (await page.receive_kind("error"))["reason"] == "Forbidden"
    page.close()


async def test_an_error_does_not_reveal_the_api_servers_address_to_a_user_without_rights(
    tmp_path: Path, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    text = api.server.kubeconfig.read_text()
    [line] = [line for line in text.splitlines() if " server: " in f" {line.strip()}"]
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(text.replace(line.split("server:")[1].strip(), "http://127.0.0.1:1"))
    async with running_console(nowhere, auth="token") as console:
        ready = await console.get("/readyz")
        while "being listed" in ready.text:
            ready = await console.get("/readyz")
        assert (ready.status, ready.text) == (
            503,
            "the jobs cannot be listed: the console's log says why\n",
        )
        status, answer = await get(console, "/api/session", "any-token")
        assert (status, answer["error"]["message"]) == (503, "the API server does not answer")
    assert "jobs cannot be watched: the API server does not answer: " in caplog.text
    assert "127.0.0.1:1 " in caplog.text
