"""The HTML shell, static files, response headers, probes and metrics."""

import asyncio
import gzip

from tests.support.apiserver.api import Api
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.monitoring.metrics_page import documented_metrics, exposed_metrics
from trainingjob_console.security import CSP
from trainingjob_console.sockets.limits import Limits

PATHS = ("/", "/jobs/ml/mnist", "/healthz", "/api/session", "/api/nothing", "/static/0/no.js")


async def test_every_response_has_restrictive_security_headers(
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


async def test_the_shell_is_served_only_for_paths_of_the_page(
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


async def test_the_console_is_ready_once_jobs_are_listed(console: ConsoleUnderTest) -> None:
    async with asyncio.timeout(30):
        while (answer := await console.get("/readyz")).status != 200:
            await asyncio.sleep(0.01)
    assert answer.text == "ok\n"


async def test_every_metric_is_documented_and_sockets_are_counted_by_reason(
    api: Api,
) -> None:
    limits = Limits(sockets=1)
    async with running_console(
        api.server, limits=limits, metrics_address="127.0.0.1:0"
    ) as console:
        first, second = [await console.socket() for _ in range(2)]
        assert (first.status, second.status) == (101, 503)
        await first.send("no json")
        assert await first.receive() is None
        second.close()
        first.close()
        text = console.console.components.metrics.render().decode()
    assert 'trainingjob_console_sockets_refused_total{reason="all"} 1.0' in text
    assert 'trainingjob_console_sockets_closed_total{reason="bad-frame"} 1.0' in text
    assert 'trainingjob_console_sockets_closed_total{reason="slow"} 0.0' in text
    assert 'trainingjob_console_log_gaps_total{reason="behind"} 0.0' in text
    assert 'trainingjob_console_log_lines_dropped_total{reason="memory"} 0.0' in text
    assert exposed_metrics(text) == documented_metrics("trainingjob_console_")
