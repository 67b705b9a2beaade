"""Retention by age and by size, and recovery from a full volume."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from tests.support.records.records import encode, make_record
from tests.support.volume.mount_namespace import scenario
from trainingjob_cli.main import main
from trainingjob_records.database import Database
from trainingjob_records.deletion import count, now
from trainingjob_records.errors import FullError
from trainingjob_records.quantities import parse_size
from trainingjob_records.record import parse_entry
from trainingjob_records.retention import ClockGuard, Retention
from trainingjob_records.settings import Settings
from trainingjob_records.tables import record_labels, records
from trainingjob_records.writes import store

OLD = "2020-01-01T00:00:00Z"
YEAR = timedelta(days=365)


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    database = Database(Settings(database=dsn))
    await database.prepare()
    try:
        yield database
    finally:
        await database.close()


async def put(database: Database, *uids: str, completed: str = OLD, size: int = 10) -> None:
    entries = [
        parse_entry(
            uid,
            encode(make_record(uid, completedAt=completed, message="x" * size, labels={"a": "b"})),
        )
        for uid in uids
    ]
    await database.write(lambda connection: store(connection, entries))


async def receive_long_ago(database: Database, *uids: str) -> None:
    """Set the time of receipt of these records to their completion."""
    change = update(records).where(records.c.uid.in_(uids))
    then = datetime(2020, 1, 2, tzinfo=UTC)
    await database.write(lambda connection: connection.execute(change.values(stored_at=then)))


async def uids(database: Database) -> list[str]:
    async with database.reading() as connection:
        found = await connection.execute(text("SELECT uid FROM records ORDER BY uid"))
        return [str(uid) for uid in found.scalars()]


def retention(database: Database, *, age: timedelta = YEAR, size: str = "0") -> Retention:
    return Retention(database, age=age, size=parse_size(size), interval_s=3600)


async def test_expired_records_are_removed_with_their_labels(dsn: str) -> None:
    async with opened(dsn) as database:
        recent = (await database.write_even_if_full(now)).isoformat()
        await put(database, "late", "old")
        await put(database, "future", completed="2999-01-01T00:00:00Z")
        await put(database, "recent", completed=recent)
        await receive_long_ago(database, "old", "future", "recent")
        await retention(database).remove_aged(0)
        assert await uids(database) == ["future", "late", "recent"]
        assert database.usage.removed == {"age": 1, "size": 0}
        async with database.reading() as connection:
            labelled = await connection.execute(record_labels.select())
            assert {row.uid for row in labelled} == {"future", "late", "recent"}


async def test_age_0_keeps_records_for_ever_and_a_run_removes_a_bounded_number(dsn: str) -> None:
    async with opened(dsn) as database:
        names = [f"u{n:03}" for n in range(80)]
        await put(database, *names)
        await receive_long_ago(database, *names)
        await retention(database, age=timedelta()).remove_aged(0)
        assert len(await uids(database)) == 80
        await retention(database).remove_aged(0)
        assert await uids(database) == names[50:]


def test_after_a_clock_jump_nothing_is_removed_by_age_for_a_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard, wall = ClockGuard(), datetime(2026, 1, 1, tzinfo=UTC)
    assert guard.trusts(wall, 0)
    assert guard.trusts(wall + timedelta(hours=1), 3600)
    assert not guard.trusts(wall + 2 * YEAR, 7200)
    assert "no record is removed by age for a day" in caplog.text
    assert not guard.trusts(wall + 2 * YEAR + timedelta(hours=23), 7200 + 23 * 3600)
    assert guard.trusts(wall + 2 * YEAR + timedelta(hours=24), 7200 + 24 * 3600)


async def test_above_the_size_limit_the_oldest_are_removed_and_their_pages_reused(
    dsn: str, tmp_path: Path
) -> None:
    async with opened(dsn) as database:
        sizes = []
        for turn in range(3):
            for n in range(60):
                time = f"2026-01-0{turn + 1}T00:00:{n:02}Z"
                await put(database, f"u{turn}-{n:02}", completed=time, size=50_000)
            await retention(database, size="1Mi").keep_size()
            left = await uids(database)
            assert left == [f"u{turn}-{n:02}" for n in range(60 - len(left), 60)]
            assert 15 <= len(left) <= 20
            sizes.append((await database.measure()).used)
        assert max(sizes) <= 2**20
        assert database.usage.limit == 2**20
        if database.is_file:
            file = Path(Settings(database=dsn).url.database or "")
            assert file.stat().st_size < 2 * 60 * 50_000  # noqa: ASYNC240 - nothing else runs here


async def test_a_database_at_its_maximum_size_refuses_records_and_accepts_them_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainingjob_records.disk_space.ceiling_of", lambda _: 800 * 4096)
    async with opened(dsn) as database:
        if not database.is_file:
            pytest.skip("PostgreSQL has no limit on the size of a database")
        await retention(database).keep_size()
        stored = 0
        with pytest.raises(FullError, match="trainingjob records prune"):  # noqa: PT012
            for stored in range(100):
                await put(database, f"u{stored:02}", size=50_000)
        assert database.usage.is_full
        with pytest.raises(FullError):
            await put(database, "small")
        with pytest.raises(FullError):
            await database.ping()
        await retention(database, size="1Mi").keep_size()
        assert not database.usage.is_full
        await database.ping()
        await put(database, "small")
        assert 0 < await database.write_even_if_full(count) < stored


@pytest.fixture
def on_full_volume(tmp_path: Path) -> Callable[[str], dict[str, object]]:
    return lambda name: scenario("records.full_record_volume", name, tmp_path)


def test_a_full_volume_refuses_records_loses_none_and_is_freed_by_retention(
    on_full_volume: Callable[[str], dict[str, object]],
) -> None:
    outcome = on_full_volume("full")
    assert {name: outcome[name] for name in ("ready_when_full", "stays_full", "ready_again")} == {
        "ready_when_full": False,
        "stays_full": True,
        "ready_again": True,
    }
    assert outcome["kept_without_a_limit"]
    assert int(str(outcome["removed"])) > 0 < int(str(outcome["left"]))
    assert outcome["reserve"] == 4 * 2**20


def test_on_a_volume_filled_by_others_records_are_kept_until_the_command_removes_them(
    on_full_volume: Callable[[str], dict[str, object]],
) -> None:
    outcome = on_full_volume("prune")
    assert (outcome["code"], outcome["said"]) == (0, f"{outcome['stored']} records were removed\n")
    assert int(str(outcome["stored"])) > 0


def test_prune_dry_run_reports_the_number_and_creates_no_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = f"sqlite:///{tmp_path / 'records.db'}"
    arguments = ["records", "prune", "--older-than=365d", f"--database={dsn}"]
    assert main(arguments) == 2
    assert "there is no file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

    async def fill() -> None:
        async with opened(dsn) as database:
            await put(database, "new", "old")
            await receive_long_ago(database, "old")

    asyncio.run(fill())
    assert main([*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 records would be removed\n"
    assert main(arguments) == 0
    assert capsys.readouterr().out == "1 records were removed\n"
    assert main(arguments) == 0
    assert capsys.readouterr().out == "0 records were removed\n"
