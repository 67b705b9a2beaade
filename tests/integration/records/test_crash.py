"""No acknowledged record is lost: killed services, databases that stop, and full queues."""

# A test has its loop to itself: blocking it harms nobody.
# ruff: noqa: ASYNC240

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.support.records.postgres import Postgres
from tests.support.records.records import Record, make_record
from tests.support.records.senders import assert_kept, senders, until_acknowledged
from tests.support.records.service import Answer, Client, RecordServiceProcess

SOON_S = 4.0
"""Twice what is promised for a machine that is not busy with other tests."""


async def test_sigkill_loses_no_acknowledged_record(own_service: RecordServiceProcess) -> None:
    acknowledged: dict[str, int] = {}
    for _ in range(3):
        await own_service.wait_until_ready()
        async with Client(own_service.url) as client, senders(client, acknowledged):
            await until_acknowledged(acknowledged, len(acknowledged) + 20)
            own_service.kill()
        own_service.start()
    await own_service.wait_until_ready()
    async with Client(own_service.url) as client:
        await assert_kept(client, acknowledged)
        listed = (await client.list(("limit", "200")))["items"]
        assert len({item["uid"] for item in listed}) == len(listed) >= 60


async def test_sigterm_stops_it_in_time_with_exit_code_0(
    own_service: RecordServiceProcess,
) -> None:
    acknowledged: dict[str, int] = {}
    await own_service.wait_until_ready()
    async with Client(own_service.url) as client, Client(own_service.url) as idle:
        await idle.get("/healthz")
        async with senders(client, acknowledged):
            await until_acknowledged(acknowledged, 30)
            code, seconds = await asyncio.to_thread(own_service.terminate)
    assert code == 0, own_service.log()
    assert seconds < SOON_S, own_service.log()
    assert "Traceback" not in own_service.log()
    own_service.start()
    await own_service.wait_until_ready()
    async with Client(own_service.url) as client:
        await assert_kept(client, acknowledged)


async def test_sigterm_does_not_wait_for_a_body_that_never_ends(
    own_service: RecordServiceProcess,
) -> None:
    await own_service.wait_until_ready()
    host, port = own_service.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"PUT /api/v1/jobs/u HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        b"Authorization: Bearer correct-horse-battery-staple\r\n\r\n{"
    )
    await writer.drain()
    async with Client(own_service.url) as client:
        await client.get("/healthz")
    code, seconds = await asyncio.to_thread(own_service.terminate)
    writer.close()
    assert (code, seconds < SOON_S) == (0, True), (seconds, own_service.log())


async def test_two_services_on_one_database_agree_on_the_highest_revision(
    dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folders = [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")]
    with (
        RecordServiceProcess(folders[0], dsn) as one,
        RecordServiceProcess(folders[1], dsn) as two,
    ):
        await one.wait_until_ready()
        await two.wait_until_ready()
        async with Client(one.url) as first, Client(two.url) as second:
            uids = [f"race-{number}" for number in range(10)]
            puts = [
                put_when_free(
                    (first, second)[revision % 2],
                    make_record(uid, revision=revision, restarts=revision),
                )
                for revision in (2, 7, 1, 8, 3, 6, 4, 5)
                for uid in uids
            ]
            answers = await asyncio.gather(*puts)
            assert {answer.status for answer in answers} == {200}
            for uid in uids:
                kept = await first.get(f"/api/v1/jobs/{uid}")
                assert (kept.json["revision"], kept.json["restarts"]) == (8, 8)


async def put_when_free(client: Client, record: Record) -> Answer:
    """Put a record, again while the service says that it is busy: the two wait for each other's commits."""
    async with asyncio.timeout(90):
        while (answer := await client.put(record)).status == 503:
            await asyncio.sleep(0.1)
    return answer


@pytest.mark.long
async def test_a_stopped_database_is_reported_and_used_again_when_back(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    # Asks for the shared server only to be skipped, or failed, as it is.
    with Postgres() as server:
        dsn = server.new_database()
        server.stop()
        with RecordServiceProcess(tmp_path, dsn) as service:
            await service.wait_until("/readyz", 503)
            async with Client(service.url) as client:
                await assert_unavailable(client)
                assert await says_up(client) == 0
                server.start()
                await service.wait_until_ready()
                assert await says_up(client) == 1
                record = make_record()
                assert (await client.put(record)).status == 200
                server.stop()
                await service.wait_until("/readyz", 503)
                await assert_unavailable(client)
                assert await says_up(client) == 0
                server.start()
                await service.wait_until_ready()
                assert (await client.put(record)).json["result"] == "unchanged"
                server.stop()
            code, seconds = await asyncio.to_thread(service.terminate)
            assert (code, seconds < SOON_S) == (0, True), (seconds, service.log())
            server.start()


async def test_a_silent_database_does_not_block_requests(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    with (
        Postgres() as server,
        RecordServiceProcess(tmp_path, server.new_database(), commit_timeout="1") as service,
    ):
        await service.wait_until_ready()
        async with Client(service.url) as client:
            assert (await client.put(make_record())).status == 200
            server.freeze()
            try:
                answers = await asyncio.gather(*(client.put(make_record()) for _ in range(4)))
                assert {answer.status for answer in answers} == {503}
                assert (await client.get("/readyz")).status == 503
                assert (await client.get("/healthz")).status == 200
                code, seconds = await asyncio.to_thread(service.terminate)
            finally:
                server.thaw()
            assert (code, seconds < SOON_S) == (0, True), (seconds, service.log())


async def says_up(client: Client) -> int:
    """Return the database metrics."""
    [line] = [
        line
        for line in (await client.get("/metrics")).text.splitlines()
        if line.startswith("trainingjob_records_database_up ")
    ]
    return int(float(line.split()[1]))


async def assert_unavailable(client: Client) -> None:
    for answer in (
        await client.put(make_record()),
        await client.get("/api/v1/jobs"),
        await client.get("/api/v1/jobs/some-uid"),
    ):
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "database" in answer.json["error"]
    assert (await client.get("/healthz")).status == 200


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


async def test_a_locked_file_is_unavailable_until_it_is_unlocked_and_the_queue_is_bounded(
    sqlite_file: Path, tmp_path: Path
) -> None:
    settings = {"queue_records": "4", "commit_timeout": "0.5"}
    with RecordServiceProcess(tmp_path, f"sqlite:///{sqlite_file}", **settings) as service:
        await service.wait_until_ready()
        lock = sqlite3.connect(sqlite_file, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        async with Client(service.url) as client:
            answers = await asyncio.gather(*(client.put(make_record()) for _ in range(12)))
            assert {answer.status for answer in answers} == {503}
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
            said = [answer.json["error"] for answer in answers]
            assert any("the queue is full" in sentence for sentence in said)
            assert any("not committed within 0.5 s" in sentence for sentence in said)
            # Readers do not wait for a writer.
            assert (await client.get("/api/v1/jobs")).status == 200
            lock.execute("ROLLBACK")
            lock.close()
            async with asyncio.timeout(30):
                while (await client.put(make_record("after"))).status != 200:
                    await asyncio.sleep(0.1)


async def test_a_locked_file_delays_neither_stop_nor_start(
    sqlite_file: Path, tmp_path: Path
) -> None:
    with RecordServiceProcess(tmp_path, f"sqlite:///{sqlite_file}") as service:
        await service.wait_until_ready()
        lock = sqlite3.connect(sqlite_file, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        async with Client(service.url) as client:
            cut_off = asyncio.gather(client.put(make_record()), return_exceptions=True)
            code, seconds = await asyncio.to_thread(service.terminate)
            await cut_off
        assert (code, seconds < SOON_S) == (0, True), (seconds, service.log())
        service.start()
        await service.wait_until("/readyz", 503)
        lock.execute("ROLLBACK")
        lock.close()
        await service.wait_until_ready()


async def test_only_the_owner_can_read_the_database_files(
    sqlite_file: Path, tmp_path: Path
) -> None:
    with RecordServiceProcess(tmp_path, f"sqlite:///{sqlite_file}") as service:
        await service.wait_until_ready()
        async with Client(service.url) as client:
            await client.put(make_record())
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("records.db*")}
        assert modes.keys() >= {"records.db", "records.db-shm", "records.db-wal"}
        assert set(modes.values()) == {0o600}


async def test_idle_connections_shut_out_neither_probes_nor_records(
    sqlite_file: Path, tmp_path: Path
) -> None:
    with RecordServiceProcess(
        tmp_path, f"sqlite:///{sqlite_file}", max_connections="8"
    ) as service:
        await service.wait_until_ready()
        host, port = service.url.removeprefix("http://").split(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
        async with Client(service.url) as client:
            assert (await client.get("/healthz")).status == 200
            assert (await client.put(make_record())).status == 200
            assert 'reason="evicted"} 2' in (await client.get("/metrics")).text
        for _, writer in idle:
            writer.close()
        assert len(service.log().splitlines()) < 30
