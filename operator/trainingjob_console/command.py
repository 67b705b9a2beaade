"""`trainingjob console`: returns the exit code; 0 success, 1 failure, 2 wrong usage."""

import asyncio
import sys

from trainingjob_console.errors import SettingsError, StartError
from trainingjob_console.server import Console
from trainingjob_console.settings import Settings
from trainingjob_web.logs import configure_logging


def serve_console(*, address: str | None, auth: str | None, kubeconfig: str | None) -> int:
    """Serve until SIGTERM or SIGINT. Settings that are None come from the environment."""
    try:
        settings = Settings.from_environment(address=address, auth=auth, kubeconfig=kubeconfig)
        configure_logging("trainingjob_console", settings.log_format, settings.log_level)
        return asyncio.run(_serve(settings))
    except SettingsError as error:
        return _fail(error, 2)
    except StartError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 1


async def _serve(settings: Settings) -> int:
    await Console(settings).serve()
    return 0


def _fail(error: object, code: int) -> int:
    print(f"trainingjob: {error}", file=sys.stderr)  # noqa: T201 - the answer to the user
    return code
