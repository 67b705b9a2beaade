"""PostgreSQL is restarted, killed and replaced by its standby, under load: no acknowledged record is lost."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.records.postgres import Postgres, Standby
from tests.support.records.records import make_record
from tests.support.records.senders import assert_kept, senders, until_acknowledged
from tests.support.records.service import Client, RecordServiceProcess
from tests.support.records.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("postgres_server")]
PATIENCE_S = 60.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.1)


async def put_until(client: Client, status: int) -> None:
    """Put records until one is answered so."""
    async with asyncio.timeout(PATIENCE_S):
        while (await client.put(make_record())).status != status:
            await asyncio.sleep(0.05)


async def assert_kept_after_a_start(
    service: RecordServiceProcess, acknowledged: dict[str, int]
) -> None:
    """A service that was killed refused nothing, and once started again it has all of them."""
    assert "refuses it" not in service.log()
    service.start()
    await service.wait_until_ready()
    async with Client(service.url) as client:
        await assert_kept(client, acknowledged)


async def test_restarts_of_postgresql_under_load_lose_no_acknowledged_record(
    tmp_path: Path,
) -> None:
    acknowledged: dict[str, int] = {}
    with Postgres() as server, RecordServiceProcess(tmp_path, server.new_database()) as service:
        await service.wait_until_ready()
        async with Client(service.url) as client, senders(client, acknowledged):
            for end in (server.stop, server.kill, server.stop):
                await until_acknowledged(acknowledged, len(acknowledged) + 30)
                await asyncio.to_thread(end)
                await asyncio.to_thread(server.start)
            await until_acknowledged(acknowledged, len(acknowledged) + 30)
            # It may be made read-only, too, before another one takes its place.
            await asyncio.to_thread(server.set, "default_transaction_read_only", "on")
            await put_until(client, 503)
            await service.wait_until("/readyz", 503)
            await asyncio.to_thread(server.set, "default_transaction_read_only", "off")
            await service.wait_until_ready()
            await until_acknowledged(acknowledged, len(acknowledged) + 30)
            service.kill()
        await assert_kept_after_a_start(service, acknowledged)


def follows_synchronously(primary: Postgres) -> bool:
    return primary.ask("SELECT sync_state FROM pg_stat_replication") == "sync"


@pytest.mark.parametrize("found_by", ["its address", "two hosts"])
async def test_a_failover_to_a_synchronous_standby_loses_no_acknowledged_record(
    tmp_path: Path, found_by: str
) -> None:
    acknowledged: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        primary = stack.enter_context(Postgres())
        dsn = primary.new_database()
        standby = stack.enter_context(Standby(primary))
        primary.set("synchronous_standby_names", "*")
        await until(lambda: follows_synchronously(primary))
        address = TcpProxy(primary)
        await stack.enter_async_context(address.served())
        if found_by == "two hosts":
            account, _, name = dsn.partition(f"127.0.0.1:{primary.port}/")
            dsn = f"{account}/{name}?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
        else:
            dsn = dsn.replace(str(primary.port), str(address.port))
        service = stack.enter_context(RecordServiceProcess(tmp_path, dsn, commit_timeout="2"))
        await service.wait_until_ready()
        async with Client(service.url) as client:
            # What the standby does not have is not acknowledged.
            standby.freeze()
            assert (await client.put(make_record())).status == 503
            standby.thaw()
            async with senders(client, acknowledged):
                await until_acknowledged(acknowledged, 50)
                await asyncio.to_thread(primary.kill)
                address.move_to(standby)
                await service.wait_until("/readyz", 503)
                await put_until(client, 503)
                await asyncio.to_thread(standby.promote)
                await service.wait_until_ready()
                await until_acknowledged(acknowledged, len(acknowledged) + 50)
                service.kill()
        await assert_kept_after_a_start(service, acknowledged)
        service.kill()


@pytest.mark.parametrize("first", ["/readyz", "a record"])
async def test_a_hanging_host_does_not_prevent_the_fail_over_to_another(
    tmp_path: Path, first: str
) -> None:
    """Its machine hangs: what is connected to it stays so, it takes connections, and says nothing.

    Whoever asks first afterwards finds these connections, be it nobody but the kubelet.
    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(Postgres())
        address = TcpProxy(server)
        await stack.enter_async_context(address.served())
        account, _, name = server.new_database().partition(f"127.0.0.1:{server.port}/")
        hosts = (address.port, address.port, server.port)
        dsn = f"{account}/{name}?{'&'.join(f'host=127.0.0.1:{port}' for port in hosts)}"
        service = stack.enter_context(RecordServiceProcess(tmp_path, dsn, commit_timeout="2"))
        await service.wait_until_ready()
        client = await stack.enter_async_context(Client(service.url))
        kept = make_record()
        assert (await client.put(kept)).status == 200
        address.hang()
        if first == "a record":
            assert (await client.put(make_record())).status == 503
        await service.wait_until("/readyz", 503)
        await service.wait_until_ready()
        await put_until(client, 200)  # the writer connects, too
        await assert_kept(client, {kept["uid"]: 1})
        service.kill()
