"""The format of archived logs: section headers and trailers, and the rank prefix of every line."""

import re
from dataclasses import dataclass
from typing import Final

_TRAILER: Final = re.compile(
    rb"<== attempt (\d{1,10}) rank (\d{1,4}) pod ([0-9A-Za-z-]{1,64})"
    rb"(?: container ([0-9a-z-]{1,63}))? bytes (\d{1,12}) cut (\d{1,19})( running)?\n"
)
HEADER: Final = re.compile(
    rb"==> attempt \d{1,10} rank \d{1,4} pod [0-9A-Za-z-]{1,64}(?: container [0-9a-z-]{1,63})?\n"
)
HEADER_START: Final = b"==> attempt "


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of an archive: the log of one container of one pod.

    Attributes:
        pod: the pod's uid.
        container: name of the container; "": the main one.
    """

    attempt: int
    rank: int
    pod: str
    container: str = ""

    @property
    def _who(self) -> str:
        beside = f" container {self.container}" if self.container else ""
        return f"attempt {self.attempt} rank {self.rank} pod {self.pod}{beside}"

    @property
    def header(self) -> bytes:
        """The first line of the section."""
        return f"==> {self._who}\n".encode()

    def trailer(self, size: int, cut: int, *, running: bool) -> bytes:
        """Return the last line of the section."""
        state = " running" if running else ""
        return f"<== {self._who} bytes {size} cut {cut}{state}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A complete section and its byte range in the file."""

    section: Section
    start: int
    end: int
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """The last line of a section.

    Attributes:
        size: bytes between the header and this line.
        cut: bytes left out at the beginning of the log.
        running: the pod had not ended when its log was read.
    """

    section: Section
    size: int
    cut: int
    running: bool


def read_trailer(line: bytes) -> Trailer | None:
    """Parse a trailer line, newline included; None if it is another line."""
    match = _TRAILER.fullmatch(line)
    if match is None:
        return None
    attempt, rank, pod, container, size, cut, running = match.groups()
    section = Section(
        attempt=int(attempt),
        rank=int(rank),
        pod=pod.decode(),
        container=(container or b"").decode(),
    )
    return Trailer(section=section, size=int(size), cut=int(cut), running=running is not None)


def prefix_of(rank: int) -> bytes:
    """Return the prefix of every line of a rank."""
    return f"[rank {rank}] ".encode()


class Prefixer:
    """Adds the rank prefix to every line of a log that arrives in chunks."""

    def __init__(self, rank: int) -> None:
        self._prefix: Final = prefix_of(rank)
        self._at_start = True

    def feed(self, part: bytes) -> bytes:
        """Return the chunk with prefixes inserted."""
        if not part:
            return b""
        start = self._prefix if self._at_start else b""
        self._at_start = part.endswith(b"\n")
        # After a final newline no prefix is added: it follows with the next chunk.
        lines = part[:-1].replace(b"\n", b"\n" + self._prefix)
        return start + lines + part[-1:]

    def end(self) -> bytes:
        """Return the newline that ends an unterminated last line; empty if none is needed."""
        return b"" if self._at_start else b"\n"
