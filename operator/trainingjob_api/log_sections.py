"""The sections of an archive of logs: their first and last lines, and the rank before every line."""

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
    """The container of a pod whose log a section holds.

    Attributes:
        pod: the pod's uid.
        container: which of its containers; "": the main one.
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
        """Its first line."""
        return f"==> {self._who}\n".encode()

    def trailer(self, size: int, cut: int, *, running: bool) -> bytes:
        """Its last line."""
        state = " running" if running else ""
        return f"<== {self._who} bytes {size} cut {cut}{state}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A whole section, and where it stands in the file."""

    section: Section
    start: int
    end: int
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """The last line of a section.

    Attributes:
        size: bytes of what stands between its header and this line.
        cut: bytes of the log, as it was written, that were left out before them.
        running: the pod had not ended when its log was read.
    """

    section: Section
    size: int
    cut: int
    running: bool


def read_trailer(line: bytes) -> Trailer | None:
    """Return what a line says if it is the last one of a section, newline included."""
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
    """Return what begins every line of a rank."""
    return f"[rank {rank}] ".encode()


class Prefixer:
    """Puts the rank in front of every line, a part of the log at a time."""

    def __init__(self, rank: int) -> None:
        self._prefix: Final = prefix_of(rank)
        self._at_start = True

    def feed(self, part: bytes) -> bytes:
        """Return what to write for this part."""
        if not part:
            return b""
        start = self._prefix if self._at_start else b""
        self._at_start = part.endswith(b"\n")
        # The prefix after the last newline is due when its line begins.
        lines = part[:-1].replace(b"\n", b"\n" + self._prefix)
        return start + lines + part[-1:]

    def end(self) -> bytes:
        """Return what ends the last line, if its writer did not."""
        return b"" if self._at_start else b"\n"
