"""One run of a container, seen from the node: its supervisor, its output, its end.

The node never runs anything of a pod itself. It starts a supervisor (see `supervisor.py`), holds
the control pipe, and copies the output into a bounded file.
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
from trainingjob_sandbox.node.programs import own_program
from trainingjob_sandbox.node.supervisor import START_ERROR_CODE, Launch

_LOG: Final = logging.getLogger(__name__)
_KILLED: Final = 137
_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a run.

    Attributes:
        code: exit code, 128 + n for signal n.
        at: when.
        start_error: why it never started; "" if it did.
    """

    code: int
    at: datetime
    start_error: str = ""


class ContainerProcess:
    """A running container. `start` it, `wait` for it, `stop` it as often as needed."""

    def __init__(
        self, process: asyncio.subprocess.Process, report: asyncio.StreamReader, log: LogFile
    ) -> None:
        self._process = process
        self._report = report
        self._output = asyncio.create_task(_copy(process, log), name="container-output")
        self.started_at: datetime | None = None
        self.pid = 0
        self._unread: dict[str, Any] | None = None
        """The event that came instead of `started`, kept for `wait`."""

    @classmethod
    async def start(
        cls, launch: Launch, log: LogFile, environment: Mapping[str, str]
    ) -> "ContainerProcess":
        """Start a supervisor and hand it the launch.

        Args:
            launch: what to run.
            log: where the output goes.
            environment: the supervisor's own; it needs next to nothing.
        """
        read, write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *own_program("trainingjob_sandbox.node.supervisor", str(write)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(write,),
                # A Ctrl-C at the terminal is for the node, which then stops its pods in order.
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
        self._tell(launch.to_json())
        await self._first_word()
        return self

    def stop(self, grace_s: float) -> None:
        """SIGTERM now and SIGKILL after the grace, in seconds; the shortest grace given wins."""
        self._tell(f"stop {grace_s:.3f}\n".encode())

    async def wait(self) -> Exit:
        """Wait until nothing of the container is left and its output is on disk."""
        event = await self._event()
        await self._output
        await self._process.wait()
        at = _time(event)
        if event.get("event") == "failed":
            return Exit(START_ERROR_CODE, at, str(event.get("message", "")))
        # No last word: the supervisor was killed, and with it the container.
        return Exit(int(event.get("code", _KILLED)), at)

    async def _first_word(self) -> None:
        event = await self._event()
        if event.get("event") == "started":
            self.pid = int(event["pid"])
            self.started_at = _time(event)
        else:
            self._unread = event

    async def _event(self) -> dict[str, Any]:
        if self._unread is not None:
            return self._unread
        line = await self._report.readline()
        event: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return event

    def _tell(self, data: bytes) -> None:
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
            # A full disk costs the output, not the program: it would wait for its reader for ever.
            if not lost:
                lost = True
                _LOG.warning("output of process %d is lost: %s", process.pid, error)


def _time(event: Mapping[str, Any]) -> datetime:
    if "at" in event:
        return datetime.fromtimestamp(float(event["at"]), UTC)
    return datetime.now(UTC)
