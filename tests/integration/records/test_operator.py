"""The operator's writer and outbox together with the record service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from tests.support.records.records import encode, make_record
from tests.support.records.service import Client, RecordServiceProcess
from trainingjob_api.errors import (
    EndpointUnauthorizedError,
    EndpointUnavailableError,
    RecordConflictError,
    RecordRejectedError,
)
from trainingjob_operator.core.record import encode_record
from trainingjob_operator.records.endpoint import RecordWriter


@pytest.fixture
async def writer(service: RecordServiceProcess, client: Client) -> AsyncIterator[RecordWriter]:
    writer = RecordWriter(
        f"{service.url}/api/v1/jobs", timeout_s=10, token_file=service.token_file
    )
    yield writer
    await writer.close()


def test_the_tests_send_what_the_operator_sends() -> None:
    assert encode(make_record("u")) == encode_record(make_record("u"))


# aiohttp's word on bodies over 1 MiB, of which this test sends one on purpose.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_the_operators_writer_handles_every_response(
    service: RecordServiceProcess, client: Client, writer: RecordWriter, tmp_path: Path
) -> None:
    record = make_record(revision=2)
    await writer.write(record)
    await writer.write(record)
    await writer.write(record | {"revision": 1})
    with pytest.raises(RecordConflictError, match="stored with other content"):
        await writer.write(record | {"phase": "Failed"})
    with pytest.raises(RecordRejectedError, match="schemaVersion: this service understands"):
        await writer.write(record | {"schemaVersion": 2})
    with pytest.raises(RecordRejectedError, match="larger than 2097152 bytes"):
        await writer.write(record | {"revision": 3, "message": "x" * 2 * 1024 * 1024})
    assert (await client.get(f"/api/v1/jobs/{record['uid']}")).text.encode() == encode(record)
    tokens = tmp_path / "tokens"
    tokens.write_text("wrong")
    stranger = RecordWriter(f"{service.url}/api/v1/jobs", timeout_s=10, token_file=tokens)
    with pytest.raises(EndpointUnauthorizedError):
        await stranger.write(record)
    await stranger.close()
    lost = RecordWriter(f"{service.url}/elsewhere", timeout_s=10)
    with pytest.raises(EndpointUnavailableError, match="HTTP 404"):
        await lost.write(record)
    await lost.close()


async def test_a_job_that_the_operator_ran_is_in_the_list(
    api_server: ApiServerUnderTest,
    api: Api,
    service: RecordServiceProcess,
    client: Client,
    tmp_path: Path,
) -> None:
    process = OperatorProcess(
        api_server.kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_NAMESPACES=api.namespace,
        TRAININGJOB_CLUSTER_NAME="test",
        TRAININGJOB_PERSIST__URL=f"{service.url}/api/v1/jobs",
        TRAININGJOB_PERSIST__TOKEN_FILE=str(service.token_file),
    )
    with process:
        await asyncio.to_thread(process.wait_until_ready)
        created = await api.apply(make_job("kept", framework="Torch"))
        [pod] = await api.wait_for_pods("kept", 1)
        await api.start_pod(pod)
        await api.finish_pod(pod, 0)
        await api.wait_for_job("kept", lambda s: s.get("recordState") == "Stored", patience_s=45)
    (item,) = (await client.list(("namespace", api.namespace), ("phase", "Succeeded")))["items"]
    assert (item["uid"], item["name"]) == (created["metadata"]["uid"], "kept")
    assert (item["framework"], item["cluster"]) == ("Torch", "test")
    stored = (await client.get(f"/api/v1/jobs/{item['uid']}")).json
    assert stored["spec"]["framework"] == "Torch"
