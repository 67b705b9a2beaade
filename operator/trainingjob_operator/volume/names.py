"""The names that the volume's root holds, and the only ones that are ever touched.

    job_<uid>.log           the archived output of all ranks
    job_<uid>/              the job's own directory
    datasets/job_<uid>/     its data sets

Names are `str` as Python's file functions give them: bytes that are no UTF-8 are surrogates.
"""

from typing import Final

SENTINEL: Final = ".trainingjob-volume"
MARK: Final = ".trainingjob"
MARKS: Final = ".trainingjob-marks"
KEEP: Final = ".keep"
TRASH: Final = ".trash"
DATASETS: Final = "datasets"
LOST_AND_FOUND: Final = "lost+found"

_PREFIX: Final = "job_"
_LOG_SUFFIX: Final = ".log"


def job_id_of(name: str) -> str | None:
    """The id in an entry's name, whether it is a uid or not; None: no entry of ours."""
    if not name.startswith(_PREFIX):
        return None
    return name.removeprefix(_PREFIX).removesuffix(_LOG_SUFFIX) or None


def directory_name(uid: str) -> str:
    """The job's own directory, in the root and below `datasets`."""
    return f"{_PREFIX}{uid}"


def log_name(uid: str) -> str:
    """The job's archived log, in the root."""
    return f"{_PREFIX}{uid}{_LOG_SUFFIX}"


def printable(name: str) -> str:
    """A name for people and logs: on one line, whatever bytes are in it."""
    plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)
