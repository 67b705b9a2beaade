"""What a root holds that may be looked after: streamed, one name at a time."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from trainingjob_operator.volume.names import DATASETS, directory_name, job_id_of, log_name


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
        """From the root."""
        return f"{self.below}/{self.name}" if self.below else self.name

    @property
    def is_result(self) -> bool:
        """True if it is a job's own directory, and neither a log nor data sets."""
        return not self.below and self.name == directory_name(self.job_id)


def entries_of(at: int, *, below: str = "") -> Iterator[Entry]:
    """The entries of the root, or of `datasets`; everything else there does not exist for us."""
    with os.scandir(at) as found:
        for each in found:
            job_id = job_id_of(each.name)
            if job_id is not None:
                yield Entry(each.name, job_id, at, below)


@dataclass(frozen=True, slots=True)
class Places:
    """The directories that entries are in: the root, and `datasets` if it is there."""

    root: int
    datasets: int | None

    def descriptor(self, below: str) -> int | None:
        """Of the place with this name, if it is there."""
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
        """All entries."""
        yield from entries_of(self.root)
        if self.datasets is not None:
            yield from entries_of(self.datasets, below=DATASETS)
