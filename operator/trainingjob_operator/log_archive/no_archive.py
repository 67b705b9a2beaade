"""What stands in for the archiver where there is no log volume."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from trainingjob_operator.core.decision import LogOutcome, Survey
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.pod import PodView


class NoLogArchive:
    """Where there is no log volume: nothing is owed, and nothing is wanted."""

    volume_error: Final = ""

    def outcomes_of(self, job: JobView) -> Mapping[str, LogOutcome]:
        """Nothing."""
        return {}

    def want(self, job: JobView, pods: Iterable[PodView], survey: Survey | None = None) -> bool:
        """Nobody asks."""
        return True

    def forget(self, job: JobView, present: Collection[str]) -> None:
        """Nothing is remembered."""

    def settled(self, uid: str) -> None:
        """Nothing is remembered."""

    async def prepare(self, job: JobView) -> bool:
        """There is nothing to make."""
        return True
