"""The highest revision is kept for any order and repetition of writes."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete

from tests.support.records.records import encode, make_record
from trainingjob_records.database import Database
from trainingjob_records.record import Entry, parse_entry
from trainingjob_records.settings import Settings
from trainingjob_records.tables import record_labels, records
from trainingjob_records.writes import Outcome, Result, store

Put = tuple[str, int, str]
PUTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.sampled_from(["one", "other"])),
    max_size=12,
)


def entry(put: Put) -> Entry:
    uid, revision, content = put
    record = make_record(uid, revision=revision, message=content, labels={"content": content})
    return parse_entry(uid, encode(record))


def batches(puts: Sequence[Put]) -> list[list[Put]]:
    """As the writer makes them: as many as come in a row, each uid once."""
    made: list[list[Put]] = []
    for put in puts:
        if made and all(other[0] != put[0] for other in made[-1]):
            made[-1].append(put)
        else:
            made.append([put])
    return made


def expected(kept: dict[str, Put], put: Put) -> Outcome:
    """Return the outcome that the contract requires, and update what must be stored."""
    uid, revision, content = put
    before = kept.get(uid)
    if before is None or revision > before[1]:
        kept[uid] = put
        return Outcome(Result.STORED, revision)
    if revision < before[1]:
        return Outcome(Result.SUPERSEDED, before[1])
    same = content == before[2]
    return Outcome(Result.UNCHANGED if same else Result.CONFLICT, revision)


def clear(connection: Connection) -> None:
    connection.execute(delete(record_labels))
    connection.execute(delete(records))


@pytest.fixture
async def prepared(dsn: str) -> str:
    database = Database(Settings(database=dsn))
    await database.prepare()
    await database.close()
    return dsn


@settings(
    max_examples=40,
    deadline=None,
    # Every example empties the tables itself; a new database for each would take minutes.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(puts=PUTS)
async def test_the_highest_revision_is_kept_with_its_labels(
    prepared: str, puts: list[Put]
) -> None:
    database = Database(Settings(database=prepared))
    await database.prepare()
    await database.write(clear)
    kept: dict[str, Put] = {}
    for batch in batches(puts):
        entries = [entry(put) for put in batch]
        outcomes = await database.write(lambda connection, e=entries: store(connection, e))  # type: ignore[misc]
        assert outcomes == [expected(kept, put) for put in batch]
    async with database.reading() as connection:
        rows = (await connection.execute(records.select())).all()
        labels = (await connection.execute(record_labels.select())).all()
    await database.close()
    assert {(row.uid, row.revision, row.message) for row in rows} == set(kept.values())
    assert {(row.uid, row.value) for row in labels} == {(put[0], put[2]) for put in kept.values()}
