"""SQL statements: each filter uses an index in the order of the list."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.records.records import encode, make_record
from trainingjob_records import queries
from trainingjob_records.cursor import Cursor
from trainingjob_records.database import Database
from trainingjob_records.queries import Filter, page_query, read_page
from trainingjob_records.record import Entry, parse_entry
from trainingjob_records.settings import Settings
from trainingjob_records.writes import store


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(Settings(database=dsn))
    await opened.prepare()
    yield opened
    await opened.close()


def entries(count: int) -> list[Entry]:
    made = []
    for number in range(count):
        time = f"2026-03-{1 + number // 1440:02}T{number // 60 % 24:02}:{number % 60:02}:00Z"
        record = make_record(
            f"uid-{number:05}",
            namespace=f"ns-{number % 7}",
            phase=("Succeeded", "Failed")[number % 2],
            completedAt=time,
            labels={"team": f"team-{number % 3}", "run": str(number)},
            message="needle" if number % 500 == 0 else "hay",
        )
        made.append(parse_entry(record["uid"], encode(record)))
    return made


async def plan_of(connection: AsyncConnection, query: Any) -> str:
    """Return the query plan."""
    compiled = query.compile(connection.engine, compile_kwargs={"literal_binds": True})
    if connection.dialect.name == "sqlite":
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        return "\n".join(row[-1] for row in rows)
    # A table of this size is read faster as a whole; what is asked is whether an index could.
    await connection.execute(text("SET LOCAL enable_seqscan = off"))
    rows = await connection.exec_driver_sql(f"EXPLAIN {compiled}".replace("%", "%%"))
    return "\n".join(row[0] for row in rows)


FILTERS = [
    Filter(),
    Filter(namespace="ns-1"),
    Filter(phase="Failed"),
    Filter(namespace="ns-1", phase="Failed"),
    Filter(labels=(("team", "team-1"),)),
]


async def test_no_filter_reads_or_sorts_the_whole_table(database: Database) -> None:
    await database.write(partial(store, entries=entries(2000)))
    await database.write(lambda connection: connection.execute(text("ANALYZE")))
    for after in (None, Cursor(entries(1)[0].ordered_at, "uid-00001")):
        for wanted in FILTERS:
            async with database.reading() as connection:
                plan = await plan_of(connection, page_query(wanted, limit=51, after=after))
            assert "TEMP B-TREE" not in plan, (wanted, plan)
            assert "Sort" not in plan, (wanted, plan)
            assert "Seq Scan" not in plan, (wanted, plan)
            for line in plan.splitlines():
                assert not line.startswith("SCAN") or "USING INDEX" in line, (wanted, plan)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(labels=(("team", "team-1"), ("run", "7"))),
        Filter(labels=(("team", "team-1"),), namespace="ns-1", phase="Failed"),
    ],
)
async def test_a_filter_combined_with_a_label_uses_an_index(
    database: Database, wanted: Filter
) -> None:
    await database.write(partial(store, entries=entries(500)))
    async with database.reading() as connection:
        plan = await plan_of(connection, page_query(wanted, limit=51, after=None))
    assert "Seq Scan" not in plan, plan
    assert not any(line.startswith("SCAN") for line in plan.splitlines()), plan
    assert "ix_record_labels" in plan, plan


async def test_a_search_scans_a_bounded_number_of_rows_and_returns_a_cursor(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SCAN_ROWS", 300)
    await database.write(partial(store, entries=entries(1200)))
    found: list[str] = []
    pages = 0
    after: Cursor | None = None
    while True:
        async with database.reading() as connection:
            page = await read_page(connection, Filter(text="NEEDLE"), limit=1, after=after)
        assert len(page.rows) <= 1
        found += [row.uid for row in page.rows]
        pages, after = pages + 1, page.next
        if after is None:
            break
    assert found == ["uid-01000", "uid-00500", "uid-00000"]
    # Windows of 300 rows over 1200, at least one of them without a needle, and none looked at twice
    # but where a page was full.
    assert 4 <= pages <= 7


async def test_rows_contain_the_body_as_it_was_sent(database: Database) -> None:
    (entry,) = entries(1)
    await database.write(partial(store, entries=[entry]))
    async with database.reading() as connection:
        body = (await connection.execute(text("SELECT body FROM records"))).scalar_one()
    assert json.loads(body)["spec"] == json.loads(entry.body)["spec"]
