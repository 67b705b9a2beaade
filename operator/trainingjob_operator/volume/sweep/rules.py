"""The decision what may leave the log volume, from facts that others have gathered.

A job's files go when nothing of it has changed for the volume's maximum age, and the cluster no
longer knows the job. Everything that is not known for certain to be such a file is kept, and
counted with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from trainingjob_operator.volume.layout import is_uid, uids_in
from trainingjob_operator.volume.ownership import Mark, Owner

NS: Final = 1_000_000_000
"""Nanoseconds in a second: file times are whole nanoseconds, and stay so."""

FUTURE_NS: Final = 86_400 * NS
"""A modification time further ahead of the volume's clock than this was set by hand. It is not
believed: it would hold its file for ever. The time of the change of the inode speaks instead."""

LIST_MARGIN_NS: Final = 5 * NS
"""A change this little before the list was begun counts as one after it: clocks differ."""

PRESSURE_AGE_S: Final = 3_600.0
"""Nothing that has changed within the hour goes for a quota: it may be being read."""

_SEPARATORS: Final = "._-~ "


@dataclass(frozen=True, slots=True)
class LiveJobs:
    """The jobs of the cluster, from one fresh and complete list of all namespaces served.

    A job's uid is given once and never again: what is not in here was never made, is gone for
    good, or was made after the list.

    Attributes:
        uids: of every TrainingJob that exists at all, finished or not. Their files stay.
        finished: uid -> completion time, of those in `uids` that are finished and stored.
        kept: uids whose jobs carry the annotation `trainingjob.dev/keep`.
        listed_at: when the list was begun, wall clock, aware; what has changed since then is
            kept, because it may belong to a job that the list could not know. None: when the sweep
            begins.
        volume_id: what the default policy's `status.volumeId` says. None: no volume was ever
            looked after, and an empty one may be taken.
    """

    uids: frozenset[str]
    finished: Mapping[str, datetime] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    listed_at: datetime | None = None
    volume_id: str | None = None


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The room of a file system.

    Attributes:
        size_bytes: of the whole, above 0.
        free_bytes: what those who are not root may still write.
    """

    size_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """The result of one sweep of the volume.

    Attributes:
        files_removed: files, links and the like.
        directories_removed: directories.
        bytes_freed: what they took on the disk; a file that has another name elsewhere frees none.
        errors: operations that the volume refused.
        skipped: entries that stayed: how many, by reason.
        healthy: whether the volume could be swept; None: there is none, or it was not looked at.
        reason: for the condition `VolumeHealthy`.
        message: for people; names what mends it.
        volume_id: of the volume that was looked at; belongs into the policy's `status.volumeId`.
        room: of its file system, after the sweep; None: it was not measured.
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
    """The reason why an entry of the volume goes, or stays; the words of `skipped` and of `--dry-run`."""

    EXPIRED = "expired"
    """Nothing in it has changed for the maximum age, and no job owns it: it goes."""
    PRESSURE = "pressure"
    """Files that no job owns take more than their quota, and this is among the first: it goes."""

    LIVE = "live"
    """Its job exists, and is not finished, or its record is not stored."""
    FINISHED = "finished"
    """Its job is finished, and still exists."""
    KEPT = "kept"
    """Its job has the annotation, or the directory a file `.keep`."""
    YOUNG = "young"
    """Something in it has changed within the maximum age."""
    UNOWNED = "unowned"
    """Its id is no uid: its owner is unknown."""
    FOREIGN = "foreign"
    """It says that it belongs to another cluster, another namespace or another job."""
    CHANGED = "changed"
    """It changed while it was looked at."""
    CAPPED = "capped"
    """Due, and left to the next sweep: this one has done its share."""
    MOUNT = "mount"
    """Another file system is mounted in it."""
    DENIED = "denied"
    """The volume does not let us read or remove it."""
    UNREADABLE = "unreadable"
    """The volume gave an error of another kind."""
    BUSY = "busy"
    """Something in it could not be removed yet: it is open on NFS, or mounted."""


def judge_job(job_id: str, live: LiveJobs, *, legacy: bool = False) -> Reason | None:
    """Return why an entry stays, from its name alone; None: its name is no reason.

    Args:
        job_id: what stands behind `job_` in its name.
        live: what the cluster knows.
        legacy: whether ids that are no uid may go at all.
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
    """Names of old are free: `job_7.ckpt` and `job_<uid>.log.1` belong to a live 7 and <uid>."""
    known = live.uids | live.kept | live.finished.keys()
    heads = (job_id[:at] for at, character in enumerate(job_id) if character in _SEPARATORS)
    inside = uids_in(job_id.lower())
    return any(each in known for each in (job_id, *heads, *inside))


def judge_mark(job_id: str, mark: Mark | None, owner: Owner) -> Reason | None:
    """Return why an entry stays, from the mark of its job. Without a mark it is the volume owner's."""
    if mark is None:
        return None
    ours = owner.recognises(mark.identity) and owner.serves(mark.namespace) and mark.uid == job_id
    return None if ours else Reason.FOREIGN


def last_change(mtime_ns: int, ctime_ns: int, *, now_ns: int) -> int:
    """Return when a file changed last: a copy can bring an old mtime, but no old ctime.

    A mtime that is far in the future was set by hand, which ctime recorded.
    """
    believed = mtime_ns if mtime_ns <= now_ns + FUTURE_NS else ctime_ns
    return max(believed, ctime_ns)


def cutoff(now_ns: int, *, max_age_s: float, since_list_s: float | None) -> int:
    """Return the time after which a change keeps an entry, in nanoseconds of the volume's clock.

    Args:
        now_ns: the volume's time, at most the wall clock's.
        max_age_s: seconds without a change after which an entry is due.
        since_list_s: seconds since the list of jobs was begun. A job that the list does not know
            made its directory after that.
    """
    age_ns = int(max_age_s * NS)
    if since_list_s is not None:
        age_ns = max(age_ns, int(since_list_s * NS) + LIST_MARGIN_NS)
    return now_ns - age_ns


def share(entries: int, *, percent: float, at_least: int) -> int:
    """Return how many of these entries one sweep may remove: a wrong list must not cost them all."""
    return max(at_least, int(entries * percent / 100))


def excess(used: int, quota: int) -> int:
    """Return bytes to free: none up to the quota, then as many as it takes to get a tenth below.

    Args:
        used: bytes that files take which may go.
        quota: bytes that they may take; 0: any number.
    """
    return used - (quota - quota // 10) if quota and used > quota else 0


def has_stepped(elapsed_s: float, wall_s: float, volume_s: float, *, limit_s: float) -> bool:
    """True if a clock was set between two sweeps: it did not run like the monotonic one."""
    return max(abs(wall_s - elapsed_s), abs(volume_s - elapsed_s)) > limit_s
