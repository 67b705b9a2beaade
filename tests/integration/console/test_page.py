"""The shell, its files, the headers of every answer, and the probes."""

import asyncio
import gzip

from tests.support.console.running import ConsoleUnderTest
from trainingjob_console.security import CSP

PATHS = ("/", "/jobs/ml/mnist", "/healthz", "/api/session", "/api/nothing", "/static/0/no.js")


async def test_every_answer_carries_the_headers_that_forbid_what_the_page_does_not_need(
    console: ConsoleUnderTest,
) -> None:
    for path in PATHS:
        answer = await console.get(path)
        assert answer.headers["Content-Security-Policy"] == CSP, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert answer.headers["Referrer-Policy"] == "no-referrer", path
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin", path
        assert answer.headers["Cache-Control"] == "no-store", path
        assert "server" not in {name.lower() for name in answer.headers}, path


async def test_the_shell_is_served_for_every_path_of_the_page_and_for_no_other(
    console: ConsoleUnderTest,
) -> None:
    shell = await console.get("/")
    assert (shell.status, shell.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "@SHA@" not in shell.text
    assert (await console.get("/jobs/ml/mnist?uid=1")).text == shell.text
    for path in ("/api/nothing", "/static/0/no.js", "/static/x"):
        refusal = await console.get(path)
        assert (refusal.status, refusal.json["error"]["reason"]) == (404, "NotFound"), path
    wrong = await console.request("DELETE", "/")
    assert (wrong.status, wrong.json["error"]["reason"]) == (405, "MethodNotAllowed")


async def test_the_shell_is_compressed_once(console: ConsoleUnderTest) -> None:
    plain = await console.get("/", headers={"Accept-Encoding": "identity"})
    async with console.session.get(
        console.url + "/", headers={"Accept-Encoding": "gzip"}, auto_decompress=False
    ) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await packed.read()).decode() == plain.text
    assert "Content-Encoding" not in plain.headers


async def test_it_is_ready_once_the_jobs_were_listed(console: ConsoleUnderTest) -> None:
    async with asyncio.timeout(30):
        while (answer := await console.get("/readyz")).status != 200:
            await asyncio.sleep(0.01)
    assert answer.text == "ok\n"
