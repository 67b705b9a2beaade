"""Fixtures: each test of the record service runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.records.postgres import Postgres, skip_without_postgres
from tests.support.records.service import Client, RecordServiceProcess

FAULTS = frozenset({"test_crash", "test_migrations", "test_revisions", "test_space"})
"""On PostgreSQL these take long: a quick run tests the contract on both, and faults only on SQLite."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        case = getattr(item, "callspec", None)
        if item.path.stem in FAULTS and case and case.params.get("new_database") == "postgresql":
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A server for all tests that leave it running."""
    skip_without_postgres()
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes an empty database, and says its DSN."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        return server.new_database
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'records.db'}"


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    """An empty database of the test's own."""
    return new_database()


@pytest.fixture(scope="module")
def service(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RecordServiceProcess]:
    """One service for the tests of a module, which keep to uids of their own."""
    folder = tmp_path_factory.mktemp("service")
    with RecordServiceProcess(folder, new_database()) as process:
        yield process
        assert process.process.poll() is None, process.log()


@pytest.fixture
async def client(service: RecordServiceProcess) -> AsyncIterator[Client]:
    """Speaks to the module's service."""
    await service.wait_until_ready()
    async with Client(service.url) as client:
        yield client


@pytest.fixture
def own_service(dsn: str, tmp_path: Path) -> Iterator[RecordServiceProcess]:
    """A service of the test's own, to be killed."""
    with RecordServiceProcess(tmp_path, dsn) as process:
        yield process
