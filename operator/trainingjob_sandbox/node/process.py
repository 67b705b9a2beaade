"""Runs a container once: starts its supervisor process, copies its output, and returns its exit.

The node never executes a container's program itself. It starts a supervisor (see `supervisor.py`),
holds the write end of its control pipe, and copies the output into a bounded log file.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.module_command import module_command
from trainingjob_sandbox.node.supervisor import START_ERROR_CODE, Launch

_LOG: Final = logging.getLogger(__name__)
_KILLED: Final = 137
_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Exit:
    """The termination of a run.

    Attributes:
        code: exit code; 128 + n for signal n.
        at: time of the termination.
        start_error: why it did not start; "" if it did.
    """

    code: int
    at: datetime
    start_error: str = ""


class ContainerProcess:
    """A running container: create it with `start`, then `wait`; `stop` may be called repeatedly."""

    def __init__(
        self, process: asyncio.subprocess.Process, report: asyncio.StreamReader, log: LogFile
    ) -> None:
        self._process = process
        self._report = report
        self._output = asyncio.create_task(_copy(process, log), name="container-output")
        self.started_at: datetime | None = None
        self.pid = 0
        self._end_event: dict[str, Any] | None = None
        """An event that arrived instead of `started`, kept for `wait`."""

    @classmethod
    async def start(
        cls, launch: Launch, log: LogFile, environment: Mapping[str, str]
    ) -> "ContainerProcess":
        """Start a supervisor and send it the launch specification.

        Args:
            launch: the program to run.
            log: the log file for the output.
            environment: the supervisor's own environment variables.
        """
        read, write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *module_command("trainingjob_sandbox.node.supervisor", str(write)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(write,),
                # A Ctrl-C at the terminal must reach only the node, which then stops its pods.
                start_new_session=True,
                env=environment,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", buffering=0)
        )
        self = cls(process, reader, log)
        self._send(launch.to_json())
        await self._wait_for_start()
        return self

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM now, and SIGKILL after the grace period; the earliest deadline applies."""
        self._send(f"stop {grace_s:.3f}\n".encode())

    async def wait(self) -> Exit:
        """Wait until all processes of the container have ended and its output is on disk."""
        event = await self._read_event()
        await self._output
        await self._process.wait()
        at = _time(event)
        if event.get("event") == "failed":
            return Exit(START_ERROR_CODE, at, str(event.get("message", "")))
        # Without an `exited` event the supervisor was killed, and the container with it.
        return Exit(int(event.get("code", _KILLED)), at)

    async def _wait_for_start(self) -> None:
        event = await self._read_event()
        if event.get("event") == "started":
            self.pid = int(event["pid"])
            self.started_at = _time(event)
        else:
            self._end_event = event

    async def _read_event(self) -> dict[str, Any]:
        if self._end_event is not None:
            return self._end_event
        line = await self._report.readline()
        event: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return event

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(data)


async def _copy(process: asyncio.subprocess.Process, log: LogFile) -> None:
    assert process.stdout is not None
    lost = False
    while chunk := await process.stdout.read(_CHUNK):
        try:
            log.write(chunk)
        except OSError as error:
            # On a full disk, drop the output but keep reading: else the program would block forever.
            if not lost:
                lost = True
                _LOG.warning("output of process %d is lost: %s", process.pid, error)


def _time(event: Mapping[str, Any]) -> datetime:
    if "at" in event:
        return datetime.fromtimestamp(float(event["at"]), UTC)
    return datetime.now(UTC)
