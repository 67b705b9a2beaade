"""Goes on with a log after its stream broke, without loss and without doubling.

With `timestamps=true` each line begins with its time, and with `sinceTime` the node leaves out lines
from before a second. Times do not always rise: clocks are set back, and containers write at once. So
what is remembered is how many lines of each of the last seconds were passed on. A stream that follows
has just these lines first.
"""

import re
import time
from datetime import datetime
from typing import Final

SECONDS: Final = 120
"""Seconds, of those in which lines were written, that are remembered: for so long a clock may be set
back without loss while a stream is broken."""

_LONGEST_TIME: Final = 40

# As kubelets write it: with nine digits, whatever they are. Others are a program's own.
_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(Z|[+-]\d\d:\d\d)", re.ASCII)
_NO_TIME: Final = re.compile(rb"[^0-9TZ:.+-]")
_NS: Final = 1_000_000_000


class LineResume:
    """Takes the stream with its times, any number of times from a little before, and passes the log on.

    A line without a time, which a node may send about its own troubles, is passed on as it is. Where
    no line has one, the stream begins at the log's beginning each time, and bytes are counted.

    Bound: `seconds` counts.

    Attributes:
        file: the time of the first line of all, which names the file that the log began with; empty: there
            was no line yet, or it has none.
    """

    def __init__(self, *, seconds: int = SECONDS) -> None:
        self.file = ""
        self._limit: Final = seconds
        self._kept: Final[dict[int, tuple[int, int]]] = {}  # second -> lines, the latest's time
        self._forgotten: int | None = None  # the latest second that is remembered no more
        self._open: int | None = None  # the time of the line that is not complete
        self._passed = 0  # bytes of it that were passed on
        self._timeless = 0  # bytes of lines without a time that were passed on
        self._has_times = False
        self._second_of: tuple[bytes, bytes, int] = (b"", b"", 0)
        self._pending = b""  # what may be the beginning of a time
        self._begin()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def since(self) -> str:
        """The `sinceTime` to go on from; empty: from the beginning."""
        if self._forgotten is None:
            return ""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._forgotten + 1))

    def reopen(self) -> None:
        """Begin anew: the stream that follows has some of what was passed on already."""
        self._begin()

    def feed(self, part: bytes) -> bytes:
        """Return what of this part is new."""
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
        """Return what was held back, as it might have become a time: the log ends here."""
        found = bytearray()
        word, self._pending = self._pending, b""
        self._no_time(word, found)
        return bytes(found)

    def _begin(self) -> None:
        self._pending = b""
        self._in_line = False
        self._time: int | None = None  # of the line; None: it has none
        self._is_old = False
        self._skip = 0
        self._skip_timeless = 0 if self._has_times else self._timeless
        self._left = dict(self._kept)
        # Where the node leaves out what is old, its first piece can be the rest of an old line.
        self._is_rest = bool(self.since)

    def _read_time(self, part: bytes, at: int, found: bytearray) -> int:
        """Read the time that a line begins with; returns where the text begins."""
        chunk = part[at : at + _LONGEST_TIME - len(self._pending)]
        end = _NO_TIME.search(chunk)
        if end is None and len(self._pending) + len(chunk) < _LONGEST_TIME:
            self._pending += chunk
            return at + len(chunk)
        taken = chunk[: end.end()] if end is not None else chunk
        word, self._pending = self._pending + taken, b""
        moment = self._moment(word[:-1]) if word.endswith(b" ") else None
        if moment is None:
            self._no_time(word, found)
        else:
            if not self._has_times and not self._timeless:
                self.file = word[:-1].decode("ascii")
            self._start_line(moment)
        return at + len(taken)

    def _no_time(self, word: bytes, found: bytearray) -> None:
        """Take the beginning of a line that has no time: the whole of it is text."""
        self._in_line, self._time, self._is_old = True, None, self._is_rest
        self._is_rest = False
        self._text(word, found)
        if word.endswith(b"\n"):
            self._end_line()

    def _start_line(self, moment: int) -> None:
        self._in_line, self._time, self._has_times = True, moment, True
        self._is_rest = False
        lines, latest = self._left.get(moment // _NS, (0, 0))
        self._is_old = lines > 0 and moment <= latest
        if self._is_old:
            self._left[moment // _NS] = (lines - 1, latest)
            return
        # Of a log, what was passed on comes first. All that follows is new, whatever its time.
        self._left.clear()
        self._skip = self._passed if moment == self._open else 0

    def _text(self, text: bytes, found: bytearray) -> None:
        if self._is_old:
            return
        if self._time is None:
            skipped = min(self._skip_timeless, len(text))
            self._skip_timeless -= skipped
            self._timeless += len(text) - skipped
            found += text[skipped:]
            return
        skipped = min(self._skip, len(text))
        self._skip -= skipped
        new = text[skipped:]
        if not new:
            return
        if self._time != self._open:
            self._open, self._passed = self._time, 0
        self._passed += len(new)
        found += new

    def _end_line(self) -> None:
        moment = self._time
        self._in_line = False
        if moment is None or self._is_old:
            return
        self._open, self._passed = None, 0
        second = moment // _NS
        if self._forgotten is not None and second <= self._forgotten:
            return
        lines, latest = self._kept.get(second, (0, moment))
        self._kept[second] = (lines + 1, max(latest, moment))
        if len(self._kept) > self._limit:
            self._forgotten = min(self._kept)
            del self._kept[self._forgotten]

    def _moment(self, word: bytes) -> int | None:
        """Return a time as nanoseconds since 1970; None: it is none."""
        match = _TIME.fullmatch(word)
        if match is None:
            return None
        clock, fraction, zone = match[1], match[2], match[3]
        if self._second_of[:2] != (clock, zone):  # it is the same as the line's before, mostly
            try:
                read = datetime.fromisoformat((clock + zone).decode("ascii"))
            except ValueError:
                return None
            self._second_of = (clock, zone, int(read.timestamp()))
        return self._second_of[2] * _NS + int(fraction)
