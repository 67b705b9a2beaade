"""Finds the archived logs of deleted pods, to send a reader of merged logs the lines that it missed."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from trainingjob_console.logs.archive import Archive, SectionBody
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.pods import PodLog
from trainingjob_console.logs.sources import LogAccess

_MAX_GONE: Final = 1024


@dataclass(frozen=True, slots=True)
class ArchivedRankLog:
    """The archived log of a rank whose pod was deleted.

    Attributes:
        body: its section in the archive.
    """

    body: SectionBody

    @property
    def rank(self) -> int:
        """Rank of the pod."""
        return self.body.section.rank

    @property
    def attempt(self) -> int:
        """Attempt of the pod."""
        return self.body.section.attempt

    @property
    def uid(self) -> str:
        """UID of the pod."""
        return self.body.section.pod


async def archived_rank_logs(
    archives: ArchiveReader, access: LogAccess, since: int, existing: Collection[PodLog]
) -> list[ArchivedRankLog]:
    """Return the archived logs of ranks whose pods no longer exist, oldest attempt first.

    Args:
        archives: reads the log volume.
        access: the job, and the user who reads.
        since: first attempt to return.
        existing: logs of the pods that still exist.

    Raises:
        BusyError: too many archives are being read, or the volume does not respond.
    """
    pods = {(log.attempt, log.rank) for log in existing}

    def select(archive: Archive) -> list[ArchivedRankLog]:
        newest: dict[tuple[int, int], ArchivedRankLog] = {}
        for body in archive.bodies():
            section = body.section
            key = section.attempt, section.rank
            if section.attempt >= since and not section.container and key not in pods:
                newest[key] = ArchivedRankLog(body)
        return [newest[key] for key in sorted(newest)][:_MAX_GONE]

    return await archives.with_archive(access.uid, select, user=access.caller.user) or []
