"""`trainingjob records`: settings in, an exit code out. 0 is success, 1 failure, 2 wrong use."""

import asyncio
import sys

from trainingjob_records.errors import SettingsError, StartError
from trainingjob_records.logs import configure_logging
from trainingjob_records.server import Service
from trainingjob_records.settings import Settings


def serve_records(*, address: str | None, database: str | None) -> int:
    """Serve until a signal comes, with settings from the environment where none is given here."""
    try:
        settings = Settings.from_environment(address=address, database=database)
        configure_logging(settings.log_format, settings.log_level)
        service = Service(settings)
    except SettingsError as error:
        print(f"trainingjob: {error}", file=sys.stderr)  # noqa: T201 - the answer to the user
        return 2
    try:
        asyncio.run(service.run())
    except StartError as error:
        print(f"trainingjob: {error}", file=sys.stderr)  # noqa: T201 - the answer to the user
        return 1
    except KeyboardInterrupt:
        return 1
    return 0
