"""The steps from an empty database to the tables of this version, run by Alembic."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from trainingjob_records.errors import StartError

_LOCK: Final = 7_462_910_355_181
"""PostgreSQL's advisory lock for a migration of ours: any number that no other program uses."""


def config_for(connection: Connection) -> Config:
    """Return Alembic's configuration for this connection, without a file."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version, within the transaction that has begun.

    Two processes that start at once take turns: SQLite's write lock is held already.

    Raises:
        StartError: the tables are those of a later version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    try:
        command.upgrade(config_for(connection), "head")
    except CommandError as error:
        raise StartError(
            f"the tables of this database are not those of this version ({error}); run the "
            "version of trainingjob-operator that made them, or a later one"
        ) from error
