"""The output of one container on disk, bounded: the last bytes stay, older ones go.

Two files: the current one, and the one before it, renamed when the current one is full. Positions
are counted from the first byte ever written, so that a reader survives a rotation.
"""

import asyncio
from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.names import Object

MAX_BYTES: Final = 10 * 1024 * 1024
"""Bytes of one container's output: at least half of it is kept, and at most all."""

_BLOCK: Final = 64 * 1024
_MAX_MESSAGE: Final = 4096
_MAX_LOG: Final = 2048
_MAX_LOG_LINES: Final = 80


class LogFile:
    """Written by one task, read by any number. All its methods belong to the event loop."""

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
        """Position of the oldest byte that is kept."""
        return self._older_start

    @property
    def end(self) -> int:
        """Position after the newest byte."""
        return self._end

    def write(self, data: bytes) -> None:
        """Append; may drop the oldest half.

        Raises:
            OSError: the disk is full; the rest of the data is not in the log.
        """
        for offset in range(0, len(data), self._half):
            part = data[offset : offset + self._half]
            if self._end - self._start + len(part) > self._half:
                self._rotate()
            self._end += self._out.write(part)
        self._wake()

    def read(self, position: int, limit: int = _BLOCK) -> tuple[bytes, int]:
        """Bytes from a position on, and the position after them; b"" at the end.

        A position that has been dropped is moved on to the oldest byte that is kept.
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
        """The position where the last so many lines begin."""
        if lines <= 0:
            return self._end
        position, wanted, last = self._end, lines, True
        while position > self._older_start:
            block_start = max(position - _BLOCK, self._older_start)
            block = self._between(block_start, position)
            at = len(block)
            if last and block.endswith(b"\n"):
                at -= 1  # the newline that ends the last line begins none
            last = False
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                wanted -= 1
                if wanted == 0:
                    return block_start + at + 1
            position = block_start
        return self._older_start

    async def grown(self) -> None:
        """Wait until there is more to read, or nothing more will come."""
        await self._grown.wait()

    def close(self) -> None:
        """Nothing more will come; what is there can still be read."""
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
        # Opened before anything is given up: it may fail, and the next write tries again.
        new = self._path.with_name(self._path.name + ".new")
        out = new.open("wb", buffering=0)
        self._out.close()
        self._path.replace(self._older)
        new.replace(self._path)
        self._out = out
        self._older_start, self._start = self._start, self._end

    def _wake(self) -> None:
        """Wake everybody who waits now; whoever waits later waits for the next write."""
        self._grown.set()
        self._grown = asyncio.Event()


def termination_message(container: Object, exit_code: int, file: Path | None, log: LogFile) -> str:
    """Return at most 4096 bytes of the file; with `FallbackToLogsOnError` the last 2048 of the log."""
    message = b""
    if file is not None and file.is_file():
        with file.open("rb") as written:
            message = written.read(_MAX_MESSAGE)
    policy = container.get("terminationMessagePolicy")
    if not message and exit_code and policy == "FallbackToLogsOnError":
        start = max(log.tail(_MAX_LOG_LINES), log.end - _MAX_LOG)
        message, _ = log.read(start, _MAX_LOG)
    return message.decode("utf-8", "replace")
