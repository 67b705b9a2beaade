"""Hundreds of open connections to the operator's port do not affect jobs."""

import resource
import socket
import time
from pathlib import Path

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess, operating

FILES = 256
"""That the operator may open: fewer than the connections, so that it would be out of them."""
CONNECTIONS = 600
LOG_LIMIT = 20_000
"""Bytes that it may write meanwhile."""


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let operators start with a low limit that they cannot raise."""
    spawn = OperatorProcess.spawn

    def spawn_with_few(
        self: OperatorProcess, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        spawn(self, ["prlimit", f"--nofile={FILES}:{FILES}", *command], environment)

    monkeypatch.setattr(OperatorProcess, "spawn", spawn_with_few)


def flood(address: tuple[str, int], held: list[socket.socket]) -> None:
    """Hold connections open, every second one with half a request."""
    for number in range(CONNECTIONS):
        connection = socket.create_connection(address, timeout=10)
        held.append(connection)
        if number % 2:
            connection.sendall(b"GET /healthz HT")


@pytest.mark.usefixtures("few_files")
async def test_hundreds_of_connections_block_neither_jobs_nor_probes_and_do_not_flood_the_log(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with operating(api_server, api, tmp_path) as operator:
        host, _, port = (operator.address() or "").rpartition(":")
        held: list[socket.socket] = []
        try:
            flood((host, int(port)), held)
            written = len(operator.log())
            await api.apply(make_job("mnist"))
            (pod,) = await api.wait_for_pods("mnist", 1)
            started = time.monotonic()
            assert operator.probe("/healthz") == (200, "ok\n")
            assert operator.probe("/readyz") == (200, "ok\n")
            assert time.monotonic() - started < 5
            await api.start_pod(pod)
            await api.wait_for_phase("mnist", "Running")
            status, metrics = operator.probe("/metrics")
            assert status == 200
            assert f'{{structure="web_connections"}} {FILES // 4}.0' in metrics
            assert len(operator.log()) - written < LOG_LIMIT, operator.log()[-2000:]
        finally:
            for each in held:
                each.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
