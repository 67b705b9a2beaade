"""Where a job stands: what every step of the plan looks at, and the two ways in which it ends."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from trainingjob_api.constants import (
    CONDITION_FINISHED,
    CONDITION_PODS_READY,
    REASON_PODS_NOT_READY,
)
from trainingjob_operator.core.cleanup import deletions, pods_to_clean
from trainingjob_operator.core.conditions import set_condition
from trainingjob_operator.core.decision import DecisionSettings, Observation, Plan
from trainingjob_operator.core.job import JobSpec, JobStatus, JobView
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.recording import open_record
from trainingjob_operator.core.restart import begin_restart, end_restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One observation with its pods sorted, and the status as decided so far."""

    seen: Observation
    ranks: Ranks
    status: JobStatus
    policy: DecisionSettings
    now: datetime

    @property
    def job(self) -> JobView:
        """The observed job."""
        return self.seen.job

    @property
    def spec(self) -> JobSpec:
        """The observed job's spec."""
        return self.seen.job.spec

    def having(self, status: JobStatus) -> Self:
        """The same situation under another status."""
        return replace(self, status=status)

    def condition(self, kind: str, *, to: bool, reason: str, message: str) -> Self:
        """The same situation with a condition set."""
        return self.having(
            set_condition(
                self.status,
                kind,
                to=to,
                reason=reason,
                message=message,
                now=self.now,
                generation=self.job.generation,
            )
        )

    def not_ready(self, message: str) -> Self:
        """The same situation with `PodsReady` false."""
        return self.condition(
            CONDITION_PODS_READY, to=False, reason=REASON_PODS_NOT_READY, message=message
        )

    def no_restart_pending(self, message: str) -> Self:
        """The same situation with `Restarting` false, if it was true."""
        return self.having(
            end_restart(self.status, message=message, now=self.now, generation=self.job.generation)
        )

    def finish(
        self, kind: str, *, reason: str, message: str, exit_code: int | None = None
    ) -> Plan:
        """End the job, for good: one terminal condition, and `Finished` with the same reason."""
        ended = (
            self.no_restart_pending("the job has finished")
            .not_ready("the job has finished")
            .condition(kind, to=True, reason=reason, message=message)
            .condition(CONDITION_FINISHED, to=True, reason=reason, message=message)
        )
        status = replace(
            ended.status, attempt_start_time=None, completion_time=self.now, exit_code=exit_code
        )
        status = open_record(status, self.seen, now=self.now)
        return Plan(
            status=status,
            delete=pods_to_clean(status, self.spec.clean_pod_policy, self.seen.pods),
        )

    def restart(self, *, counted: bool, reason: str, message: str) -> Plan:
        """Take this attempt down and let the next one follow."""
        status = begin_restart(
            self.status,
            counted=counted,
            reason=reason,
            message=message,
            now=self.now,
            generation=self.job.generation,
        )
        down = self.having(status).not_ready("the next attempt has not started")
        return Plan(status=down.status, delete=deletions(self.seen.pods))
