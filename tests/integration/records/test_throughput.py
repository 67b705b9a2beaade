"""Throughput with eight senders; each record is on disk before the response."""

import asyncio
import sys
import time
from uuid import uuid4

import pytest

from tests.support.records.records import make_record
from tests.support.records.service import Client, RecordServiceProcess

RECORDS = 600
SENDERS = 8


async def metric(client: Client, name: str) -> float:
    """The value of one without labels."""
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.serial
@pytest.mark.long
async def test_many_records_are_stored_in_one_commit(
    service: RecordServiceProcess, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    records = iter(
        [make_record(str(uuid4()), labels={"a": "1", "b": "2"}) for _ in range(RECORDS)]
    )
    before = await metric(client, "trainingjob_records_commit_records_count")

    async def send() -> None:
        for record in records:
            assert (await client.put(record)).status == 200

    begun, cpu_s = time.monotonic(), service.cpu_s()
    await asyncio.gather(*(send() for _ in range(SENDERS)))
    seconds, cpu_s = time.monotonic() - begun, service.cpu_s() - cpu_s
    commits = await metric(client, "trainingjob_records_commit_records_count") - before
    with capsys.disabled():
        sys.stderr.write(
            f"\n{RECORDS / seconds:.0f} records/s with {SENDERS} in flight into "
            f"{service.database_kind}, {RECORDS / commits:.1f} records a commit, "
            f"{cpu_s * 1000 / RECORDS:.1f} ms of the service's CPU a record\n"
        )
    # The figure is the machine's; what must hold anywhere is that records share commits.
    assert commits <= RECORDS / 2
