"""The database becomes ready in spite of a transient fault."""

from pathlib import Path

import pytest

from trainingjob_records import database as module
from trainingjob_records.database import Database
from trainingjob_records.errors import UnavailableError
from trainingjob_records.settings import Settings


async def test_a_failed_first_measurement_is_retried_and_does_not_block_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.0)
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-a-good-length-for-this\n")
    database = Database(
        Settings(database=f"sqlite:///{tmp_path / 'records.db'}", token_file=tokens)
    )
    measure, failures = database.measure, [UnavailableError("locked", retry_after_s=1)]

    async def fail_once() -> object:
        if failures:
            raise failures.pop()
        return await measure()

    monkeypatch.setattr(database, "measure", fail_once)
    try:
        await database.prepare()
        assert database.prepared.is_set()
    finally:
        await database.close()
