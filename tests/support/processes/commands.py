"""Runs a command of `trainingjob` to completion, as a fork (see `process_start`) in quick tests."""

import asyncio
import sys
import tempfile
from dataclasses import dataclass

from tests.support.processes.process_start import start_process, starts_anew

_PATIENCE_S = 90.0


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    output: str
    errors: str


async def run_trainingjob(*arguments: str, environment: dict[str, str] | None = None) -> Outcome:
    """Run `trainingjob ARGUMENTS` with these variables (None: ours), in the current folder.

    Raises:
        subprocess.TimeoutExpired: it has not ended in time, and was killed.
    """
    command = [sys.executable, "-m", "trainingjob_cli", *arguments]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start_process(command, environment, output, errors, anew=starts_anew())
        try:
            code = await asyncio.to_thread(process.wait, _PATIENCE_S)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return Outcome(code, output.read().decode(), errors.read().decode())
