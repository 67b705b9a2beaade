"""Resumes a log stream that broke, without lost or duplicate lines.

With `timestamps=true` each line begins with its timestamp, and with `sinceTime` the kubelet omits lines before a second.
Timestamps do not always increase: clocks are set back, and containers write concurrently. So the number of lines that
were returned is counted for each of the last seconds. The next stream begins with exactly these lines, which are skipped.
"""

import re
import time
from datetime import datetime
from typing import Final

SECONDS: Final = 120
"""Seconds with lines for which counts are kept. A clock may be set back by so much without loss while the stream is
broken."""

_LONGEST_TIME: Final = 40

# The format of kubelets, always with nine digits. Any other timestamp is a part of the line itself.
_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(Z|[+-]\d\d:\d\d)", re.ASCII)
_NOT_TIME: Final = re.compile(rb"[^0-9TZ:.+-]")
_NS: Final = 1_000_000_000


class LineResume:
    """Strips timestamps from a log stream, and skips lines that an earlier stream has returned.

    A line without a timestamp, such as an error message of the kubelet, is returned unchanged. If no line has a
    timestamp, each stream starts at the beginning of the log, and returned bytes are counted instead.

    Bound: `seconds` counts.

    Attributes:
        file: timestamp of the first line, which names the file that the log began with; empty: no line yet, or no
            timestamp.
    """

    def __init__(self, *, seconds: int = SECONDS) -> None:
        self.file = ""
        self._limit: Final = seconds
        self._kept: Final[dict[int, tuple[int, int]]] = {}  # second -> lines, latest timestamp
        self._forgotten: int | None = None  # the latest second whose count was evicted
        self._open: int | None = None  # timestamp of the incomplete line
        self._returned = 0  # returned bytes of the incomplete line
        self._untimed = 0  # returned bytes of lines without a timestamp
        self._has_times = False
        self._second_of: tuple[bytes, bytes, int] = (b"", b"", 0)
        self._pending = b""  # possible beginning of a timestamp
        self._begin()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def since(self) -> str:
        """The `sinceTime` to resume from; empty: from the beginning."""
        if self._forgotten is None:
            return ""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._forgotten + 1))

    def reopen(self) -> None:
        """Prepare for a new stream, which begins with lines that were returned already."""
        self._begin()

    def feed(self, part: bytes) -> bytes:
        """Return the new log bytes of this part."""
        found = bytearray()
        at = 0
        while at < len(part):
            if not self._in_line:
                at = self._read_time(part, at, found)
                continue
            newline = part.find(b"\n", at)
            end = len(part) if newline < 0 else newline + 1
            self._text(part[at:end], found)
            at = end
            if newline >= 0:
                self._end_line()
        return bytes(found)

    def end(self) -> bytes:
        """Return the buffered rest, which could have become a timestamp: the log ends here."""
        found = bytearray()
        prefix, self._pending = self._pending, b""
        self._start_untimed_line(prefix, found)
        return bytes(found)

    def _begin(self) -> None:
        self._pending = b""
        self._in_line = False
        self._time: int | None = None  # timestamp of the line; None: it has none
        self._is_old = False
        self._skip = 0
        self._skip_untimed = 0 if self._has_times else self._untimed
        self._left = dict(self._kept)
        # With `sinceTime`, the stream can begin with the rest of an old line.
        self._is_rest = bool(self.since)

    def _read_time(self, part: bytes, at: int, found: bytearray) -> int:
        """Read the timestamp of a line, and return the position after it."""
        chunk = part[at : at + _LONGEST_TIME - len(self._pending)]
        end = _NOT_TIME.search(chunk)
        if end is None and len(self._pending) + len(chunk) < _LONGEST_TIME:
            self._pending += chunk
            return at + len(chunk)
        taken = chunk[: end.end()] if end is not None else chunk
        prefix, self._pending = self._pending + taken, b""
        timestamp = self._timestamp(prefix[:-1]) if prefix.endswith(b" ") else None
        if timestamp is None:
            self._start_untimed_line(prefix, found)
        else:
            if not self._has_times and not self._untimed:
                self.file = prefix[:-1].decode("ascii")
            self._start_line(timestamp)
        return at + len(taken)

    def _start_untimed_line(self, prefix: bytes, found: bytearray) -> None:
        """Start a line that has no timestamp: all of it is text."""
        self._in_line, self._time, self._is_old = True, None, self._is_rest
        self._is_rest = False
        self._text(prefix, found)
        if prefix.endswith(b"\n"):
            self._end_line()

    def _start_line(self, timestamp: int) -> None:
        self._in_line, self._time, self._has_times = True, timestamp, True
        self._is_rest = False
        lines, latest = self._left.get(timestamp // _NS, (0, 0))
        self._is_old = lines > 0 and timestamp <= latest
        if self._is_old:
            self._left[timestamp // _NS] = (lines - 1, latest)
            return
        # Lines returned before come first. All lines after them are new, whatever their timestamps.
        self._left.clear()
        self._skip = self._returned if timestamp == self._open else 0

    def _text(self, text: bytes, found: bytearray) -> None:
        if self._is_old:
            return
        if self._time is None:
            skipped = min(self._skip_untimed, len(text))
            self._skip_untimed -= skipped
            self._untimed += len(text) - skipped
            found += text[skipped:]
            return
        skipped = min(self._skip, len(text))
        self._skip -= skipped
        new = text[skipped:]
        if not new:
            return
        if self._time != self._open:
            self._open, self._returned = self._time, 0
        self._returned += len(new)
        found += new

    def _end_line(self) -> None:
        timestamp = self._time
        self._in_line = False
        if timestamp is None or self._is_old:
            return
        self._open, self._returned = None, 0
        second = timestamp // _NS
        if self._forgotten is not None and second <= self._forgotten:
            return
        lines, latest = self._kept.get(second, (0, timestamp))
        self._kept[second] = (lines + 1, max(latest, timestamp))
        if len(self._kept) > self._limit:
            self._forgotten = min(self._kept)
            del self._kept[self._forgotten]

    def _timestamp(self, prefix: bytes) -> int | None:
        """Return a timestamp as nanoseconds since 1970; None: it is not a timestamp."""
        match = _TIME.fullmatch(prefix)
        if match is None:
            return None
        clock, fraction, zone = match[1], match[2], match[3]
        if self._second_of[:2] != (clock, zone):  # mostly the same as that of the previous line
            try:
                read = datetime.fromisoformat((clock + zone).decode("ascii"))
            except ValueError:
                return None
            self._second_of = (clock, zone, int(read.timestamp()))
        return self._second_of[2] * _NS + int(fraction)
