"""`trainingjob records`: arguments in, an exit code out. 0 is success, 1 failure, 2 wrong use."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from trainingjob_records.errors import SettingsError, StartError
from trainingjob_records.logs import configure_logging
from trainingjob_records.prune import run_prune
from trainingjob_records.server import Service
from trainingjob_records.settings import PREFIX, Settings


def run_command(argv: Sequence[str]) -> int:
    """Serve until told to stop; or, with `prune` first, remove records."""
    if argv[:1] == ["prune"]:
        return run_prune(argv[1:])
    arguments = _parser().parse_args(list(argv))
    try:
        settings = Settings.from_environment(
            address=arguments.address, database=arguments.database
        )
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainingjob records",
        description="Keep the records of finished jobs: the endpoint for TRAININGJOB_PERSIST__URL.",
        epilog="`trainingjob records prune --help`: remove old records now. "
        f"All settings are variables {PREFIX}...; see docs/persistence.md.",
    )
    parser.add_argument("--address", help="host:port to serve on (default: 127.0.0.1:8090)")
    parser.add_argument(
        "--database",
        help="sqlite:///PATH or postgresql://... (default: sqlite:///trainingjob-records.db); "
        f"a password is better given in {PREFIX}DATABASE",
    )
    return parser
