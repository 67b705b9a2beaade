"""A record service on a volume that becomes full, in a separate mount namespace.

    unshare --mount python -m tests.support.records.full_record_volume NAME FOLDER

prints what came of it as JSON.
"""

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from tests.support.records.records import encode, make_record
from tests.support.volume.mount_namespace import Outcome, mount, print_scenario
from trainingjob_records.command import prune_records
from trainingjob_records.database import Database
from trainingjob_records.deletion import count
from trainingjob_records.errors import FullError, UnavailableError
from trainingjob_records.quantities import parse_size
from trainingjob_records.record import parse_entry
from trainingjob_records.retention import Retention
from trainingjob_records.settings import Settings
from trainingjob_records.writes import store

_VOLUME = "16m"


def settings(folder: Path) -> Settings:
    return Settings(database=f"sqlite:///{folder / 'records.db'}")


async def put(database: Database, number: int) -> None:
    """Store a record of 100 KB."""
    record = make_record(f"u-{number:05}", message="x" * 100_000)
    record["completedAt"] = (
        f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    )
    entry = parse_entry(record["uid"], encode(record))
    await database.write(lambda connection: store(connection, [entry]))


async def put_until_full(database: Database, first: int = 0) -> int:
    for number in itertools.count(first):
        try:
            await put(database, number)
        except FullError:
            return number
    raise AssertionError


async def is_ready(database: Database) -> bool:
    try:
        await database.ping()
    except UnavailableError:
        return False
    return True


def retention(database: Database, size: str) -> Retention:
    return Retention(database, age=timedelta(), size=parse_size(size), interval_s=3600)


async def _full(folder: Path) -> Outcome:
    """Without a limit the volume becomes full; another file keeps it full; then a limit frees it."""
    database = Database(settings(folder))
    await database.prepare()
    unlimited = retention(database, "0")
    await unlimited.keep_size()
    stored = await put_until_full(database)
    ready_when_full = await is_ready(database)
    # Room that SQLite's log has given back is used, until there is no more of that.
    for _ in range(50):
        await unlimited.keep_size()
        if database.usage.is_full:
            break
        stored = await put_until_full(database, stored)
    kept = await database.write_even_if_full(count)
    stays_full = database.usage.is_full
    await retention(database, "50%").keep_size()
    left = await database.write_even_if_full(count)
    ready_again = await is_ready(database)
    await put(database, stored)
    reserve = (folder / "records.db.reserve").stat().st_size
    await database.close()
    return {
        "ready_when_full": ready_when_full,
        "kept_without_a_limit": kept == stored > 0,
        "stays_full": stays_full,
        "removed": stored - left,
        "left": left,
        "ready_again": ready_again,
        "reserve": reserve,
    }


async def _filled(folder: Path) -> int:
    database = Database(settings(folder))
    await database.prepare()
    await retention(database, "0").keep_size()
    stored = 30
    for number in range(stored):
        await put(database, number)
    # What is left for SQLite's own log, too.
    with (folder / "another").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    # The log has room that it took before, which is used up first.
    stored = await put_until_full(database, stored)
    await retention(database, "80%").keep_size()
    assert database.usage.is_full
    assert await database.write_even_if_full(count) == stored
    await database.close()
    return stored


def prune_on_a_full_volume(folder: Path) -> Outcome:
    """A volume that other files have filled completely, and the prune command."""
    mount("-t", "tmpfs", "-o", f"size={_VOLUME}", "tmpfs", folder)
    stored = asyncio.run(_filled(folder))
    with patch("sys.stdout.write") as said:
        code = prune_records("0", database=settings(folder).database, dry_run=False)
    return {"code": code, "stored": stored, "said": said.call_args.args[0]}


def full(folder: Path) -> Outcome:
    """See `_full`."""
    mount("-t", "tmpfs", "-o", f"size={_VOLUME}", "tmpfs", folder)
    return asyncio.run(_full(folder))


SCENARIOS = {"full": full, "prune": prune_on_a_full_volume}

if __name__ == "__main__":
    print_scenario(SCENARIOS)
