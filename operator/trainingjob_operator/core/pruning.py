"""What may leave the log volume: the decision, from facts that others have gathered.

A job's files go when nothing of it has changed for the volume's maximum age, and the cluster no
longer knows the job. Everything that is not known for certain to be such a file is kept, and
counted with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LiveJobs:
    """What the cluster knows, from one fresh and complete list of all namespaces served.

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
class VolumeReport:
    """How one sweep of the volume went.

    Attributes:
        files_removed: files, links and the like.
        directories_removed: directories.
        bytes_freed: what they took on the disk; a file that has another name elsewhere frees none.
        errors: operations that the volume refused.
        skipped: entries that stayed: how many, by reason.
        healthy: whether the volume could be swept; None: there is none, or nobody looked.
        reason: for the condition `VolumeHealthy`.
        message: for people; names what mends it.
        volume_id: of the volume that was looked at; belongs into the policy's `status.volumeId`.
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
