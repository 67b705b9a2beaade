"""Defines the file names in the volume's root; the operator touches no others.

    job_<uid>.log           the archived output of all ranks
    job_<uid>/              the job's own directory
    datasets/job_<uid>/     its data sets

Names are `str` as Python's file functions return them: bytes that are not UTF-8 are surrogates. The
entries of a directory are streamed, one name at a time.
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
    """Return the id in an entry's name, which need not be a uid; None: not an entry of ours."""
    if not name.startswith(_PREFIX):
        return None
    return name.removeprefix(_PREFIX).removesuffix(_LOG_SUFFIX) or None


def is_uid(text: str) -> bool:
    """True if the text has the form of a Kubernetes uid."""
    return _UID.fullmatch(text) is not None


def uids_in(text: str) -> list[str]:
    """Return all substrings that have the form of a Kubernetes uid."""
    return _UID.findall(text)


def directory_name(uid: str) -> str:
    """Return the name of a job's directory, in the root and in `datasets`."""
    return f"{_PREFIX}{uid}"


def log_name(uid: str) -> str:
    """Return the name of a job's archived log, in the root."""
    return f"{_PREFIX}{uid}{_LOG_SUFFIX}"


def printable(name: str) -> str:
    """Return a name as one line of printable characters, for messages and logs."""
    plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


class Entry(NamedTuple):
    """A log, a job's directory, or a job's data sets. A tuple, because most are short-lived.

    Attributes:
        name: its name in its directory.
        job_id: the id in the name: a uid, or an id of an older naming scheme.
        at: the descriptor of its directory.
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
        """True if it is a job's own directory, not a log or data sets."""
        return not self.below and self.name == directory_name(self.job_id)


def entries_of(at: int, *, below: str = "") -> Iterator[Entry]:
    """Yield the job entries of the root or of `datasets`, and skip all other names."""
    with os.scandir(at) as found:
        for each in found:
            job_id = job_id_of(each.name)
            if job_id is not None:
                yield Entry(each.name, job_id, at, below)


@dataclass(frozen=True, slots=True)
class EntryDirectories:
    """The directories that contain entries: the root, and `datasets` if it exists."""

    root: int
    datasets: int | None

    def descriptor(self, below: str) -> int | None:
        """Return the descriptor of "" (the root) or `datasets`, if it exists."""
        return {"": self.root, DATASETS: self.datasets}.get(below)

    def has_any_of(self, uid: str) -> bool:
        """True if any entry of this job exists."""
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
