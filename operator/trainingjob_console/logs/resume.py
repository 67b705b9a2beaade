"""Goes on with a log after its stream broke, without loss and without doubling.

The API server can begin a log at a second (`sinceTime`), and with `timestamps=true` each line begins
with its own time. So what is remembered is the time of the last line, how many lines had it, and how
much of a line that is not complete has been passed on.
"""

from typing import Final

_LONGEST_TIME: Final = 40


class LineResume:
    """Takes the stream with its times, any number of times from a little before, and passes the log on.

    A line without a time, which a node may send about its own troubles, is passed on as it is. Where
    no line has one, the stream begins at the log's beginning each time, and bytes are counted.
    """

    def __init__(self) -> None:
        self._last = b""  # the time of the last complete line
        self._same = 0  # complete lines that had it
        self._open = b""  # the time of the line that is not complete
        self._passed = 0  # bytes of it that were passed on
        self._timeless = 0  # bytes of lines without a time that were passed on
        self._begin()

    @property
    def since(self) -> str:
        """The `sinceTime` to go on from; empty: from the beginning."""
        found = self._last or self._open
        return f"{found[:19].decode('ascii', 'replace')}Z" if found else ""

    def reopen(self) -> None:
        """Begin anew: the stream that follows has some of what was passed on already."""
        self._begin()

    def feed(self, part: bytes) -> bytes:
        """Return what of this part is new."""
        found = bytearray()
        at = 0
        while at < len(part):
            if self._time is None:
                at = self._read_time(part, at, found)
                continue
            newline = part.find(b"\n", at)
            end = len(part) if newline < 0 else newline + 1
            self._text(part[at:end], found)
            at = end
            if newline >= 0:
                self._end_line()
        return bytes(found)

    def _begin(self) -> None:
        self._pending = b""
        self._time: bytes | None = None
        self._is_old = False
        self._skip = 0
        self._skip_timeless = 0 if self.since else self._timeless
        self._seen_same = 0  # lines of the last time that this stream has sent

    def _read_time(self, part: bytes, at: int, found: bytearray) -> int:
        """Read the time that a line begins with; returns where the text begins."""
        room = _LONGEST_TIME - len(self._pending)
        chunk = part[at : at + room]
        ends = [n for n in (chunk.find(b" "), chunk.find(b"\n")) if n >= 0]
        if not ends and len(chunk) < room:
            self._pending += chunk
            return at + len(chunk)
        taken = chunk[: min(ends) + 1] if ends else chunk
        word = self._pending + taken
        self._pending = b""
        if word.endswith(b" ") and _is_time(word[:-1]):
            self._start_line(word[:-1])
            return at + len(taken)
        # No time: the whole of it is text.
        self._time, self._is_old, self._skip = b"", False, 0
        self._text(word, found)
        if word.endswith(b"\n"):
            self._end_line()
        return at + len(taken)

    def _start_line(self, time: bytes) -> None:
        self._time = time
        self._skip = 0
        key, last = _key(time), _key(self._last)
        if self._last and key < last:
            self._is_old = True
        elif self._last and time == self._last and self._seen_same < self._same:
            self._seen_same += 1
            self._is_old = True
        else:
            self._is_old = False
            if self._passed and time == self._open:
                self._skip = self._passed

    def _text(self, text: bytes, found: bytearray) -> None:
        if self._is_old:
            return
        if not self._time:
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
        if not self._skip and self._time != self._open:
            self._open, self._passed = self._time, 0
        self._passed += len(new)
        found += new

    def _end_line(self) -> None:
        time, is_old = self._time, self._is_old
        self._time, self._is_old = None, False
        if is_old or not time:
            self._passed = 0 if not is_old else self._passed
            return
        self._same = self._same + 1 if time == self._last else 1
        self._seen_same = self._same
        self._last = time
        self._open, self._passed = b"", 0


def _is_time(word: bytes) -> bool:
    return len(word) >= 20 and word[4:5] == b"-" and word[10:11] == b"T"  # noqa: PLR2004


def _key(time: bytes) -> bytes:
    """Return what orders times of one zone: fractions have any number of digits."""
    return (
        time.rstrip(b"Z").ljust(_LONGEST_TIME, b"0")
        if b"." in time
        else (time.rstrip(b"Z") + b".").ljust(_LONGEST_TIME, b"0")
    )
