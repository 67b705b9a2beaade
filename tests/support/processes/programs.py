"""Runs a program to completion."""

import asyncio
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompletedProgram:
    """Exit code and output of a program."""

    code: int
    output: str


async def run_program(*command: str, cwd: Path, patience_s: float = 300.0) -> CompletedProgram:
    """Run a program to completion; stdout and stderr are merged."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(patience_s):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return CompletedProgram(process.returncode, output.decode())
