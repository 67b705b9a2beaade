"""Decides which entries of the log volume may be removed; pure functions without I/O.

A job's files are removed when none of them has changed for the volume's maximum age and the job no
longer exists in the cluster. Otherwise, and in case of doubt, they are kept, and counted by the
reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from trainingjob_operator.volume.layout import is_uid, uids_in
from trainingjob_operator.volume.ownership import Mark, Owner

NS: Final = 1_000_000_000
"""Nanoseconds in a second: file times are compared as whole nanoseconds."""

FUTURE_NS: Final = 86_400 * NS
"""An mtime further ahead of the volume's clock than this was set by hand. It is ignored, since it
would keep its file for ever; the ctime is used instead."""

LIST_MARGIN_NS: Final = 5 * NS
"""Changes up to this long before the start of the list count as later ones, for clock skew."""

PRESSURE_AGE_S: Final = 3_600.0
"""Entries that changed within this time are not removed for the quota: they may be in use."""

_SEPARATORS: Final = "._-~ "


@dataclass(frozen=True, slots=True)
class LiveJobs:
    """The jobs of the cluster, from one fresh and complete list of all served namespaces.

    Uids are never reused: a job that is not in here never existed, was deleted permanently, or was
    created after the list.

    Attributes:
        uids: the uids of all existing TrainingJobs, finished or not; their files are kept.
        finished: uid -> completion time, of the jobs in `uids` that are finished and recorded.
        kept: the uids of jobs with the annotation `trainingjob.dev/keep`.
        listed_at: the start of the list, wall clock, aware; entries that changed since then are
            kept, since they may belong to a job created after it. None: the start of the sweep.
        volume_id: the default policy's `status.volumeId`. None: no volume was claimed yet, and an
            empty one may be claimed.
    """

    uids: frozenset[str]
    finished: Mapping[str, datetime] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    listed_at: datetime | None = None
    volume_id: str | None = None


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The size and the free space of a file system.

    Attributes:
        size_bytes: the total size, above 0.
        free_bytes: the free space for users other than root.
    """

    size_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """The result of one sweep of the volume.

    Attributes:
        files_removed: number of removed files, links and the like.
        directories_removed: number of removed directories.
        bytes_freed: freed disk space; a file with another hard link frees none.
        errors: number of failed operations.
        skipped: number of kept entries by reason.
        healthy: whether the volume could be swept; None: there is none, or it was not checked.
        reason: the reason of the condition `VolumeHealthy`.
        message: the message of the condition; says how to fix the problem.
        volume_id: the id of the volume, for the policy's `status.volumeId`.
        room: the disk space after the sweep; None: not measured.
    """

    files_removed: int = 0
    directories_removed: int = 0
    bytes_freed: int = 0
    errors: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    healthy: bool | None = None
    reason: str = ""
    message: str = ""
    volume_id: str | None = None
    room: DiskSpace | None = None


class Reason(StrEnum):
    """The reason why an entry is removed or kept; also the keys of `skipped` and of `--dry-run`."""

    EXPIRED = "expired"
    """Removed: nothing in it changed for the maximum age, and its job does not exist."""
    PRESSURE = "pressure"
    """Removed: files without a job exceed their quota, and this one is among the first in order."""

    LIVE = "live"
    """Its job exists, and is not finished, or its record is not stored."""
    FINISHED = "finished"
    """Its job is finished, and still exists."""
    KEPT = "kept"
    """Its job has the annotation `trainingjob.dev/keep`, or the directory has a file `.keep`."""
    YOUNG = "young"
    """Something in it changed within the maximum age."""
    UNOWNED = "unowned"
    """Its id is not a uid, so its owner is unknown."""
    FOREIGN = "foreign"
    """Its mark names another cluster, another namespace or another job."""
    CHANGED = "changed"
    """It changed while it was being judged."""
    CAPPED = "capped"
    """Expired, but left to the next sweep: this one has used up its budget."""
    MOUNT = "mount"
    """Another file system is mounted in it."""
    DENIED = "denied"
    """The operator has no permission to read or remove it."""
    UNREADABLE = "unreadable"
    """Another error occurred when it was read or removed."""
    BUSY = "busy"
    """Something in it cannot be removed yet: it is open on NFS, or a mount point."""


def judge_job(job_id: str, live: LiveJobs, *, legacy: bool = False) -> Reason | None:
    """Return the reason to keep an entry, judged by its name alone; None: there is none.

    Args:
        job_id: the id in its name, after `job_`.
        live: the jobs of the cluster.
        legacy: whether entries whose id is not a uid may be removed at all.
    """
    if not is_uid(job_id):
        if not legacy:
            return Reason.UNOWNED
        return Reason.LIVE if _names_a_live_job(job_id, live) else None
    if job_id in live.kept:
        return Reason.KEPT
    if job_id in live.finished:
        return Reason.FINISHED
    return Reason.LIVE if job_id in live.uids else None


def _names_a_live_job(job_id: str, live: LiveJobs) -> bool:
    """True if an id of an older, free naming scheme contains the id of an existing job.

    `job_7.ckpt` belongs to job 7, and `job_<uid>.log.1` to job <uid>.
    """
    known = live.uids | live.kept | live.finished.keys()
    heads = (job_id[:at] for at, character in enumerate(job_id) if character in _SEPARATORS)
    inside = uids_in(job_id.lower())
    return any(each in known for each in (job_id, *heads, *inside))


def judge_mark(job_id: str, mark: Mark | None, owner: Owner) -> Reason | None:
    """Return the reason to keep an entry, judged by its job's mark; without a mark it is ours."""
    if mark is None:
        return None
    ours = owner.recognises(mark.identity) and owner.serves(mark.namespace) and mark.uid == job_id
    return None if ours else Reason.FOREIGN


def last_change(mtime_ns: int, ctime_ns: int, *, now_ns: int) -> int:
    """Return the time of a file's last change: the later one of mtime and ctime.

    A copy may preserve an old mtime, but not the ctime. An mtime far in the future was set by hand
    and is ignored; the ctime has the time at which it was set.
    """
    believed = mtime_ns if mtime_ns <= now_ns + FUTURE_NS else ctime_ns
    return max(believed, ctime_ns)


def cutoff(now_ns: int, *, max_age_s: float, since_list_s: float | None) -> int:
    """Return the time in nanoseconds of the volume's clock after which a change keeps an entry.

    Args:
        now_ns: the volume's time, or the wall clock's if that is earlier.
        max_age_s: seconds without a change after which an entry is expired.
        since_list_s: seconds since the start of the list of jobs. A job that is not in the list
            created its directory after that.
    """
    age_ns = int(max_age_s * NS)
    if since_list_s is not None:
        age_ns = max(age_ns, int(since_list_s * NS) + LIST_MARGIN_NS)
    return now_ns - age_ns


def share(entries: int, *, percent: float, at_least: int) -> int:
    """Return how many of these entries one sweep may remove: it limits the harm of a wrong list."""
    return max(at_least, int(entries * percent / 100))


def excess(used: int, quota: int) -> int:
    """Return the bytes to free: 0 within the quota, else down to a tenth below it.

    Args:
        used: bytes of the files that may be removed.
        quota: maximum bytes of them; 0: unlimited.
    """
    return used - (quota - quota // 10) if quota and used > quota else 0


def has_stepped(elapsed_s: float, wall_s: float, volume_s: float, *, limit_s: float) -> bool:
    """True if a clock was set between two sweeps: it deviates from the monotonic clock."""
    return max(abs(wall_s - elapsed_s), abs(volume_s - elapsed_s)) > limit_s
