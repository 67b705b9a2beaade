"""The names that the volume's root holds, and the only ones that are ever touched.

    job_<uid>.log           the archived output of all ranks
    job_<uid>/              the job's own directory
    datasets/job_<uid>/     its data sets

Names are `str` as Python's file functions give them: bytes that are no UTF-8 are surrogates. What a
root holds is streamed, one name at a time.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

SENTINEL: Final = ".trainingjob-volume"
MARK: Final = ".trainingjob"
MARKS: Final = ".trainingjob-marks"
KEEP: Final = ".keep"
TRASH: Final = ".trash"
DATASETS: Final = "datasets"
LOST_AND_FOUND: Final = "lost+found"

_PREFIX: Final = "job_"
_LOG_SUFFIX: Final = ".log"
_UID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def job_id_of(name: str) -> str | None:
    """Return the id in an entry's name, a uid or not; None: no entry of ours."""
    if not name.startswith(_PREFIX):
        return None
    return name.removeprefix(_PREFIX).removesuffix(_LOG_SUFFIX) or None


def is_uid(text: str) -> bool:
    """True if this is written as Kubernetes writes uids."""
    return _UID.fullmatch(text) is not None


def uids_in(text: str) -> list[str]:
    """Return what is written like a uid anywhere in a text."""
    return _UID.findall(text)


def directory_name(uid: str) -> str:
    """Return the name of a job's directory, in the root and below `datasets`."""
    return f"{_PREFIX}{uid}"


def log_name(uid: str) -> str:
    """Return the name of a job's archived log, in the root."""
    return f"{_PREFIX}{uid}{_LOG_SUFFIX}"


def printable(name: str) -> str:
    """Return a name for people and logs: on one line, whatever bytes are in it."""
    plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


class Entry(NamedTuple):
    """A log, a job's directory, or a job's data sets. A tuple: most are looked at and forgotten.

    Attributes:
        name: in its directory.
        job_id: what stands in the name: a uid, or something older.
        at: the directory's descriptor.
        below: "" for the root, else `datasets`.
    """

    name: str
    job_id: str
    at: int
    below: str = ""

    @property
    def path(self) -> str:
        """The path from the root."""
        return f"{self.below}/{self.name}" if self.below else self.name

    @property
    def is_result(self) -> bool:
        """True if it is a job's own directory, and neither a log nor data sets."""
        return not self.below and self.name == directory_name(self.job_id)


def entries_of(at: int, *, below: str = "") -> Iterator[Entry]:
    """Yield the entries of the root, or of `datasets`, and nothing else that is there."""
    with os.scandir(at) as found:
        for each in found:
            job_id = job_id_of(each.name)
            if job_id is not None:
                yield Entry(each.name, job_id, at, below)


@dataclass(frozen=True, slots=True)
class EntryDirectories:
    """The directories that entries are in: the root, and `datasets` if it is there."""

    root: int
    datasets: int | None

    def descriptor(self, below: str) -> int | None:
        """Return the descriptor of the place with this name, if it is there."""
        return {"": self.root, DATASETS: self.datasets}.get(below)

    def has_any_of(self, uid: str) -> bool:
        """True if anything of this job is there, or may be."""
        names = [(directory_name(uid), self.root), (log_name(uid), self.root)]
        if self.datasets is not None:
            names.append((directory_name(uid), self.datasets))
        for name, at in names:
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=at, follow_symlinks=False)
                return True
        return False

    def entries(self) -> Iterator[Entry]:
        """Yield all entries."""
        yield from entries_of(self.root)
        if self.datasets is not None:
            yield from entries_of(self.datasets, below=DATASETS)
