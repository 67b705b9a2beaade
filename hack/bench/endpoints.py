"""Starts record endpoints for the benchmark: a fast or slow receiver, or the record service.

The operator gets its settings from the benchmark's environment, like those that a user sets.
"""

import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hack.bench.receiver import PATH
from hack.cluster.process import Program

_PATIENCE_S: Final = 60.0
_TOKEN: Final = "the-token-of-the-bench"  # noqa: S105 - of a service that lives for a minute


@contextmanager
def recording_to(port: int, token_file: Path | None = None) -> Iterator[None]:
    """Configure operators that are started meanwhile to send records there, even if no process listens."""
    variables = {"TRAININGJOB_PERSIST__URL": f"http://127.0.0.1:{port}{PATH}"}
    if token_file is not None:
        token_file.write_text(f"{_TOKEN}\n")
        variables["TRAININGJOB_PERSIST__TOKEN_FILE"] = str(token_file)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def receiver(folder: Path, port: int, *, delay_ms: int) -> Iterator[None]:
    """Run a receiver that accepts every record after this many milliseconds."""
    command = [sys.executable, "-m", "hack.bench.receiver", str(port), str(delay_ms)]
    with ready(command, folder / "receiver.log", f"127.0.0.1:{port}"):
        yield


@contextmanager
def record_service(folder: Path, port: int, database: Path, token_file: Path) -> Iterator[int]:
    """Run the record service with SQLite; yield its process id."""
    address = f"127.0.0.1:{port}"
    command = [
        "env",
        f"TRAININGJOB_RECORDS_ADDRESS={address}",
        f"TRAININGJOB_RECORDS_DATABASE=sqlite:///{database}",
        f"TRAININGJOB_RECORDS_TOKEN_FILE={token_file}",
        sys.executable,
        *("-m", "trainingjob_cli", "records"),
    ]
    with ready(command, folder / "records.log", address) as pid:
        yield pid


@contextmanager
def ready(command: Sequence[str | Path], log: Path, address: str) -> Iterator[int]:
    """Run a program; yield its process id once it is ready at its address (`host:port`)."""
    program = Program(command, log)
    try:
        program.wait_until(lambda: _is_ready(address), patience_s=_PATIENCE_S)
        yield program.pid
    finally:
        program.stop()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own number
    except OSError:
        return False
