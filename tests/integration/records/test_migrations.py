"""The migrations create the tables that the code expects."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from tests.support.processes.commands import run_trainingjob
from tests.support.records.service import RecordServiceProcess
from trainingjob_records.database import Database
from trainingjob_records.errors import StartError
from trainingjob_records.migrations import config_for
from trainingjob_records.settings import Settings


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = Database(Settings(database=dsn))
    yield opened
    await opened.close()


async def test_migrations_create_the_tables_of_the_models(database: Database) -> None:
    await database.prepare()

    def check(connection: Connection) -> list[str]:
        command.check(config_for(connection))
        return inspect(connection).get_table_names()

    tables = await database.write(check)
    assert sorted(tables) == ["alembic_version", "record_labels", "records"]


async def test_the_migrations_have_one_head(database: Database) -> None:
    def heads(connection: Connection) -> list[str]:
        return ScriptDirectory.from_config(config_for(connection)).get_heads()

    await database.prepare()
    assert len(await database.write(heads)) == 1


async def test_services_that_start_concurrently_migrate_once(dsn: str) -> None:
    databases = [Database(Settings(database=dsn)) for _ in range(4)]
    await asyncio.gather(*(database.prepare() for database in databases))
    for database in databases:
        await database.ping()
        await database.close()


async def test_a_database_of_a_later_version_is_not_modified(dsn: str, tmp_path: Path) -> None:
    database = Database(Settings(database=dsn))
    await database.prepare()
    later = text("UPDATE alembic_version SET version_num = '9999'")
    await database.write(lambda connection: connection.execute(later))
    await database.close()
    again = Database(Settings(database=dsn))
    with pytest.raises(StartError, match="or a later one"):
        await again.prepare()
    await again.close()
    with RecordServiceProcess(tmp_path, dsn) as service:
        assert await asyncio.to_thread(service.process.wait, 90) == 1
        assert "not those of this version" in service.log()
        assert "Traceback" not in service.log()


async def test_a_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "records.db"
    file.write_bytes(b"no database at all" * 1000)
    with RecordServiceProcess(tmp_path, f"sqlite:///{file}") as service:
        assert await asyncio.to_thread(service.process.wait, 90) == 1
        assert "file is not a database" in service.log()
        assert "Traceback" not in service.log()


async def test_every_commit_to_the_file_is_synced(tmp_path: Path) -> None:
    database = Database(Settings(database=f"sqlite:///{tmp_path / 'records.db'}"))
    await database.prepare()

    def promises(connection: Connection) -> list[object]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]

    assert await database.write(promises) == ["wal", 2, 1]
    await database.close()


def test_a_stopped_service_leaves_a_single_database_file(tmp_path: Path) -> None:
    file = tmp_path / "records.db"
    with RecordServiceProcess(tmp_path, f"sqlite:///{file}") as service:
        asyncio.run(service.wait_until_ready())
        assert service.terminate()[0] == 0
    # The reserve is a file of its own, which nobody needs for the records.
    left = {path.name for path in tmp_path.glob("records.db*")}
    assert left - {"records.db.reserve"} == {"records.db"}
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as reader:
        assert reader.execute("SELECT count(*) FROM records").fetchone() == (0,)
    reader.close()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--database", "sqlite:////no/such/folder/x.db"], 2, "cannot write"),
        (["--database", "mysql://u:hidden-word@h/d"], 2, "must begin with sqlite:///"),
        (["--database", "sqlite://"], 2, "must name a file"),
        (["--address", "0.0.0.0:0"], 2, "TRAININGJOB_RECORDS_TOKEN_FILE"),
        (["--address", "192.0.2.1:0"], 2, "can be reached by other machines"),
        (["--address", "localhost"], 2, "TRAININGJOB_RECORDS_ADDRESS: "),
    ],
)
async def test_wrong_use_is_explained_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = await run_trainingjob("records", *arguments)
    assert (done.code, sentence in done.errors) == (code, True), done.errors
    assert len(done.errors.splitlines()) == 1
    assert "hidden-word" not in done.errors
