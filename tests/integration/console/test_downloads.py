"""Downloads of logs, which have no request deadline: a slow reader gets the whole file."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientPayloadError

from tests.integration.console.conftest import listed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import running_console
from trainingjob_api import constants
from trainingjob_web import connections

pytestmark = pytest.mark.sandbox_only

LINE = b"0123456789abcdef" * 4 + b"\n"
LOG = LINE * 400_000
"""More than the sockets between server and client hold."""

REQUEST_S = 1.0


async def pod_of(api: Api, job: dict[str, Any]) -> str:
    """Create a running pod of the job, without a node or an operator; return its name."""
    name = f"pod-{uuid4().hex[:8]}"
    labels = {constants.LABEL_JOB_UID: job["metadata"]["uid"], constants.LABEL_INDEX: "0"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": api.namespace, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    created = await api.client.create(f"/api/v1/namespaces/{api.namespace}/pods", pod)
    await api.start_pod(created)
    return name


@pytest.mark.parametrize("source", ["live:0:0:main", "merged"])
async def test_a_slow_reader_gets_the_whole_download(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(connections, "_CHECK_EVERY_S", 0.02)
    job = await api.apply(make_job("talks"))
    uid = job["metadata"]["uid"]
    pod = await pod_of(api, job)
    api.server.inside.call(
        lambda server: server.set_pod_log(pod, LOG.decode(), namespace=api.namespace)
    )
    (tmp_path / f"job_{uid}.log").write_bytes(LOG)
    settings: dict[str, Any] = {"namespaces": [api.namespace], "log_volume": tmp_path}
    async with running_console(api.server, **settings) as console:
        await listed(console, lambda answer: answer["total"] == 1)
        monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", REQUEST_S)  # for the download alone
        path = f"{console.url}/api/jobs/{uid}/logs/{source}/download"
        async with console.session.get(path) as response:
            assert response.status == 200
            found = bytearray(await response.content.read(1000))
            await asyncio.sleep(2 * REQUEST_S)  # the reader's own pause, not the test's
            async for part in response.content.iter_any():
                found += part
        assert found == LOG


async def test_a_download_fails_if_its_archive_is_truncated_meanwhile(
    api: Api, tmp_path: Path
) -> None:
    uid = (await api.apply(make_job("cut")))["metadata"]["uid"]
    archive = tmp_path / f"job_{uid}.log"
    archive.write_bytes(LOG)
    settings: dict[str, Any] = {"namespaces": [api.namespace], "log_volume": tmp_path}
    async with running_console(api.server, **settings) as console:
        await listed(console, lambda answer: answer["total"] == 1)
        path = f"{console.url}/api/jobs/{uid}/logs/merged/download"
        async with console.session.get(path) as response:
            await response.content.read(1000)
            archive.write_bytes(b"")
            with pytest.raises(ClientPayloadError):
                await response.read()


async def test_a_failed_download_gets_an_error_status_before_the_response_begins(api: Api) -> None:
    job = await api.apply(make_job("silent"))
    async with running_console(api.server, namespaces=[api.namespace]) as console:
        await listed(console, lambda answer: answer["total"] == 1)
        path = f"/api/jobs/{job['metadata']['uid']}/logs"
        for source in ("live:0:0:main", "merged", "archive:0:0:main"):
            answer = await console.get(f"{path}/{source}/download")
            assert (answer.status, answer.json["error"]["reason"]) == (404, "NotFound")
