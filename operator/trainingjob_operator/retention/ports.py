"""What housekeeping needs of its neighbours, declared where it is used."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.retention import Inherited
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport


class VolumeSweep(Protocol):
    """One sweep of the log volume; see `volume.sweep`."""

    async def run(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport: ...


class Counts(Protocol):
    """Where numbers go; see `metrics.GcMetrics`."""

    def jobs_swept(
        self,
        *,
        skipped: Mapping[str, int],
        errors: int,
        seconds: float,
        at: datetime,
    ) -> None: ...
    def volume_left_alone(self, reason: str) -> None: ...
    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None: ...


class Policies(Protocol):
    """Who rules which namespace; see `retention.policy_book`."""

    def inherited_by(self, namespace: str) -> Inherited | None: ...
    def ruler_of(self, namespace: str) -> str: ...


class Recorder(Protocol):
    """Where events go."""

    def record(self, job: JobView, event: Event) -> None: ...
