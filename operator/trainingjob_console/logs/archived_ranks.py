"""The logs of pods that have gone, in the archive: what a page of merged logs has missed of them is sent from there."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from trainingjob_console.logs.archive import Archive, Body
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.pods import PodLog
from trainingjob_console.logs.sources import LogAccess

_MAX_GONE: Final = 1024


@dataclass(frozen=True, slots=True)
class ArchivedRankLog:
    """The archived log of a rank whose pod has gone.

    Attributes:
        body: where it is in the archive.
    """

    body: Body

    @property
    def rank(self) -> int:
        """The pod's."""
        return self.body.section.rank

    @property
    def attempt(self) -> int:
        """The pod's."""
        return self.body.section.attempt

    @property
    def uid(self) -> str:
        """The pod's."""
        return self.body.section.pod


async def archived_rank_logs(
    archives: ArchiveReader, place: LogAccess, since: int, here: Collection[PodLog]
) -> list[ArchivedRankLog]:
    """Return the archived logs of ranks, of which no pod is there, the oldest first.

    Args:
        archives: the log volume.
        place: the job, and who reads.
        since: the first attempt whose logs are wanted.
        here: the logs of the pods that are there.

    Raises:
        BusyError: too many archives are being read, or the volume does not answer.
    """
    pods = {(log.attempt, log.rank) for log in here}

    def look(archive: Archive) -> list[ArchivedRankLog]:
        newest: dict[tuple[int, int], ArchivedRankLog] = {}
        for body in archive.bodies():
            section = body.section
            key = section.attempt, section.rank
            if section.attempt >= since and not section.container and key not in pods:
                newest[key] = ArchivedRankLog(body)
        return [newest[key] for key in sorted(newest)][:_MAX_GONE]

    return await archives.with_archive(place.uid, look, user=place.caller.user) or []
