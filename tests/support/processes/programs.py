"""Runs a program to its end."""

import asyncio
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How it ended, and all that it wrote."""

    code: int
    output: str


async def run_program(*command: str, cwd: Path, patience_s: float = 300.0) -> Ended:
    """Run it; its output and its errors together."""
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
    return Ended(process.returncode, output.decode())
