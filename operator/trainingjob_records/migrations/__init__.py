"""Runs the Alembic migrations, from an empty database to the tables of this version."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from trainingjob_records.errors import StartError

_LOCK: Final = 7_462_910_355_181
"""Key of our PostgreSQL advisory lock for migrations: a number that no other program uses."""


def config_for(connection: Connection) -> Config:
    """Return Alembic's configuration for this connection, without a configuration file."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(connection: Connection) -> None:
    """Upgrade the tables to this version, within the current transaction.

    A lock serializes processes that start at once: PostgreSQL's advisory lock, or SQLite's write
    lock, which the transaction holds already.

    Raises:
        StartError: the tables belong to a later version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    try:
        command.upgrade(config_for(connection), "head")
    except CommandError as error:
        raise StartError(
            f"the tables of this database are not those of this version ({error}); run the "
            "version of trainingjob-operator that created them, or a later one"
        ) from error
