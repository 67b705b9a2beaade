"""The context that all steps of the plan share, with methods that finish a job or restart it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from trainingjob_api.constants import (
    CONDITION_FINISHED,
    CONDITION_PODS_READY,
    REASON_PODS_NOT_READY,
)
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import JobSpec, JobStatus, JobView
from trainingjob_operator.core.pod_deletion import deletions, pods_to_clean
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.record_lifecycle import open_record
from trainingjob_operator.core.restart import begin_restart, end_restart
from trainingjob_operator.core.status_draft import StatusDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """One observation with its pods classified, and the status as decided so far."""

    seen: Observation
    ranks: Ranks
    status: JobStatus
    settings: DecisionSettings
    now: datetime

    @property
    def job(self) -> JobView:
        """The observed job."""
        return self.seen.job

    @property
    def spec(self) -> JobSpec:
        """The observed job's spec."""
        return self.seen.job.spec

    @property
    def draft(self) -> StatusDraft:
        """The status as a draft."""
        return StatusDraft.of(self.job, status=self.status, now=self.now)

    def with_status(self, status: JobStatus) -> Self:
        """Return the context with another status."""
        return replace_fields(self, status=status)

    def condition(self, kind: str, *, to: bool, reason: str, message: str) -> Self:
        """Return the context with a condition set."""
        draft = self.draft.with_condition(kind, to=to, reason=reason, message=message)
        return self.with_status(draft.status)

    def not_ready(self, message: str) -> Self:
        """Return the context with `PodsReady` false."""
        return self.condition(
            CONDITION_PODS_READY, to=False, reason=REASON_PODS_NOT_READY, message=message
        )

    def no_restart_pending(self, message: str) -> Self:
        """Return the context with `Restarting` false, if it was true."""
        return self.with_status(end_restart(self.draft, message).status)

    def finish(
        self, kind: str, *, reason: str, message: str, exit_code: int | None = None
    ) -> Plan:
        """Finish the job: set a terminal condition, and `Finished` with the same reason."""
        ended = (
            self.no_restart_pending("the job has finished")
            .not_ready("the job has finished")
            .condition(kind, to=True, reason=reason, message=message)
            .condition(CONDITION_FINISHED, to=True, reason=reason, message=message)
        )
        status = replace_fields(
            ended.status, attempt_start_time=None, completion_time=self.now, exit_code=exit_code
        )
        status = open_record(self.with_status(status).draft, self.seen).status
        return Plan(
            status=status,
            delete=pods_to_clean(status, self.spec.clean_pod_policy, self.seen.pods),
        )

    def restart(self, *, counted: bool, reason: str, message: str) -> Plan:
        """Delete the pods of this attempt and announce the next one."""
        begun = begin_restart(self.draft, counted=counted, reason=reason, message=message)
        down = self.with_status(begun.status).not_ready("the next attempt has not started")
        return Plan(status=down.status, delete=deletions(self.seen.pods))
