"""Defines `trainingjob records`, which serves the records of finished jobs, and its `prune`."""

from typing import Final

import click

from trainingjob_cli.shared import Group, needs_extra

_NOT_INSTALLED: Final = "the record service is not installed; in a clone: pip install '.[records]'"
_MODULES: Final = frozenset(
    {
        "aiosqlite",
        "alembic",
        "fastapi",
        "greenlet",
        "prometheus_client",
        "psycopg",
        "sqlalchemy",
        "starlette",
        "trainingjob_records",
        "uvicorn",
    }
)
_database_option: Final = click.option(
    "--database",
    help="sqlite:///PATH or postgresql://... (default: TRAININGJOB_RECORDS_DATABASE, which is "
    "better for a password, else sqlite:///trainingjob-records.db).",
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    short_help="Serve the record service: store and list records of finished jobs.",
    epilog="All settings are environment variables TRAININGJOB_RECORDS_...; see "
    "docs/persistence.md.",
)
@click.option("--address", help="host:port to serve on (default: 127.0.0.1:8090).")
@_database_option
@click.pass_context
def records(context: click.Context, address: str | None, database: str | None) -> int | None:
    """Serve the record service, which stores the records of finished jobs and lists them.

    Its address is the value for the operator's TRAININGJOB_PERSIST__URL.
    """
    if context.invoked_subcommand is not None:
        if address or database:
            context.fail(f"write the options after `{context.invoked_subcommand}`")
        return None
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_records.command import serve_records  # noqa: PLC0415

        return serve_records(address=address, database=database)


@records.command(short_help="Remove old records now.")
@click.option(
    "--older-than",
    required=True,
    metavar="AGE",
    help="Remove records completed and received at least this long ago: 400d, 12h, or seconds.",
)
@click.option("--dry-run", is_flag=True, help="Only print how many would be removed.")
@_database_option
def prune(older_than: str, database: str | None, *, dry_run: bool) -> int:
    """Remove old records from the database that the record service's settings name."""
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_records.command import prune_records  # noqa: PLC0415

        return prune_records(older_than, database=database, dry_run=dry_run)
