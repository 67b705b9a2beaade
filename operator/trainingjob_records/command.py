"""Runs `trainingjob records`, and `trainingjob records prune`, with or without a running service.

Both return an exit code: 0 is success, 1 failure, 2 wrong use.
"""

import asyncio
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from trainingjob_records.database import Database
from trainingjob_records.deletion import Conditions, count, is_aged, now, remove_oldest
from trainingjob_records.engine import is_sqlite
from trainingjob_records.errors import RequestError, SettingsError, StartError
from trainingjob_records.quantities import parse_age
from trainingjob_records.server import Service
from trainingjob_records.settings import Settings
from trainingjob_web.logs import configure_logging

_CONNECT_TIMEOUT_S: Final = 30.0
_MAX_FAILURES: Final = 10


def serve_records(*, address: str | None, database: str | None) -> int:
    """Serve until a signal is received; arguments override the settings from the environment."""
    try:
        settings = Settings.from_environment(address=address, database=database)
        configure_logging("trainingjob_records", settings.log_format, settings.log_level)
        service = Service(settings)
    except SettingsError as error:
        return _fail(error, 2)
    try:
        asyncio.run(service.serve())
    except StartError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 1
    return 0


def prune_records(older_than: str, *, database: str | None, dry_run: bool) -> int:
    """Remove old records; return the exit code: 0, 1 (failure) or 2 (wrong use)."""
    try:
        age = _age(older_than)
        settings = Settings.from_environment(database=database)
        _check_file(settings)
        text = asyncio.run(_prune(settings, age, dry_run=dry_run))
    except SettingsError as error:
        return _fail(error, 2)
    except (StartError, RequestError) as error:
        return _fail(error, 1)
    except TimeoutError:
        return _fail(f"the database did not become usable within {_CONNECT_TIMEOUT_S:g} s", 1)
    sys.stdout.write(text)
    return 0


def _check_file(settings: Settings) -> None:
    """Refuse a path that does not exist: opening it would create an empty database."""
    path = Path(settings.url.database or "")
    if is_sqlite(settings.url) and not path.is_file():
        raise SettingsError(f"TRAININGJOB_RECORDS_DATABASE: there is no file {path}")


async def _prune(settings: Settings, age: timedelta, *, dry_run: bool) -> str:
    database = Database(settings)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await database.prepare()
        conditions = is_aged(await database.write_even_if_full(now) - age)
        if dry_run:
            found = await database.write_even_if_full(partial(count, conditions=conditions))
            return f"{found} records would be removed\n"
        # On a full disk nothing can be removed without it; a running service restores it later.
        await database.use_reserve()
        return f"{await _remove(database, conditions)} records were removed\n"
    finally:
        await database.close()


async def _remove(database: Database, conditions: Conditions) -> int:
    removed, failures = 0, 0
    while True:
        try:
            deleted, _ = await database.write_even_if_full(
                partial(remove_oldest, conditions=conditions)
            )
        except RequestError:
            # Another process is writing to the file, which takes moments.
            failures += 1
            if failures >= _MAX_FAILURES:
                raise
            continue
        if not deleted:
            return removed
        removed += deleted


def _age(text: str) -> timedelta:
    try:
        return parse_age(text)
    except ValueError as error:
        raise SettingsError(f"--older-than: {error}") from error


def _fail(error: object, code: int) -> int:
    print(f"trainingjob: {error}", file=sys.stderr)  # noqa: T201 - the answer to the user
    return code
