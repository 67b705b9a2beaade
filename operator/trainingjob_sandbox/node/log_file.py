"""Stores the log of one container on disk, bounded by rotation.

There are two files: the current one, and the previous one, renamed when the current one is full.
Positions count from the first byte ever written, so they stay valid after a rotation.
"""

import asyncio
from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.constants import Object

MAX_BYTES: Final = 10 * 1024 * 1024
"""Maximum bytes of one container's log on disk; rotation keeps at least half of them."""

_BLOCK: Final = 64 * 1024
_MAX_MESSAGE: Final = 4096
_MAX_LOG: Final = 2048
_MAX_LOG_LINES: Final = 80


class LogFile:
    """A rotated log with one writer and any number of readers. All methods must run on the event loop."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._half = max_bytes // 2
        path.parent.mkdir(parents=True, exist_ok=True)
        self._out = path.open("wb", buffering=0)
        self._older_start = 0
        self._start = 0
        self._end = 0
        self._grown = asyncio.Event()
        self.closed = False

    @property
    def start(self) -> int:
        """Position of the oldest byte on disk."""
        return self._older_start

    @property
    def end(self) -> int:
        """Position after the newest byte."""
        return self._end

    def write(self, data: bytes) -> None:
        """Append data; rotate first if the current file would get too large.

        Raises:
            OSError: the disk is full; the rest of the data is lost.
        """
        for offset in range(0, len(data), self._half):
            part = data[offset : offset + self._half]
            if self._end - self._start + len(part) > self._half:
                self._rotate()
            self._end += self._out.write(part)
        self._wake()

    def read(self, position: int, limit: int = _BLOCK) -> tuple[bytes, int]:
        """Return bytes from a position on, and the position after them; b"" at the end.

        A position before the oldest byte on disk is moved to that byte.
        """
        position = max(position, self._older_start)
        path, base = self._path, self._start
        if position < self._start:
            path, base = self._older, self._older_start
            limit = min(limit, self._start - position)
        with path.open("rb") as file:
            file.seek(position - base)
            data = file.read(limit)
        return data, position + len(data)

    def tail(self, lines: int) -> int:
        """Return the position at which the last `lines` lines begin."""
        if lines <= 0:
            return self._end
        position, wanted, last = self._end, lines, True
        while position > self._older_start:
            block_start = max(position - _BLOCK, self._older_start)
            block = self._between(block_start, position)
            at = len(block)
            if last and block.endswith(b"\n"):
                at -= 1  # the newline at the end of the last line does not start another one
            last = False
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                wanted -= 1
                if wanted == 0:
                    return block_start + at + 1
            position = block_start
        return self._older_start

    async def wait_for_data(self) -> None:
        """Wait until there is more to read, or the log is closed."""
        await self._grown.wait()

    def close(self) -> None:
        """Close the log for writing; it can still be read."""
        if not self.closed:
            self.closed = True
            self._out.close()
            self._wake()

    def _between(self, start: int, end: int) -> bytes:
        parts = bytearray()
        while start < end:
            data, start = self.read(start, end - start)
            if not data:
                break
            parts += data
        return bytes(parts)

    def _rotate(self) -> None:
        # Open the new file first: if that fails, nothing has changed and the next write retries.
        new = self._path.with_name(self._path.name + ".new")
        out = new.open("wb", buffering=0)
        self._out.close()
        self._path.replace(self._older)
        new.replace(self._path)
        self._out = out
        self._older_start, self._start = self._start, self._end

    def _wake(self) -> None:
        """Wake all current waiters; later waiters wait for the next write."""
        self._grown.set()
        self._grown = asyncio.Event()


def termination_message(container: Object, exit_code: int, file: Path | None, log: LogFile) -> str:
    """Return the termination message: up to 4096 bytes of the file, else the last 2048 bytes of the log.

    The log is used only after a failure, under `FallbackToLogsOnError`.
    """
    message = b""
    if file is not None and file.is_file():
        with file.open("rb") as written:
            message = written.read(_MAX_MESSAGE)
    policy = container.get("terminationMessagePolicy")
    if not message and exit_code and policy == "FallbackToLogsOnError":
        start = max(log.tail(_MAX_LOG_LINES), log.end - _MAX_LOG)
        message, _ = log.read(start, _MAX_LOG)
    return message.decode("utf-8", "replace")
