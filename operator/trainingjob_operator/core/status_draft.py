"""An immutable draft of a job's status, with conditions set by the Kubernetes API conventions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from trainingjob_operator.core.fast_replace import replace_fields
from trainingjob_operator.core.job import Condition, JobStatus, JobView
from trainingjob_operator.core.message_text import truncate


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDraft:
    """A status, with the time and the generation for new conditions.

    It is immutable: each method returns a new draft.
    """

    status: JobStatus
    now: datetime
    generation: int

    @classmethod
    def of(cls, job: JobView, *, status: JobStatus | None = None, now: datetime) -> Self:
        """Create a draft from a status of the job; None: its current one."""
        status = job.status if status is None else status
        return cls(status=status, now=now, generation=job.generation)

    def with_fields(self, **fields: Any) -> Self:
        """Return the draft with these fields of the status changed."""
        return replace_fields(self, status=replace_fields(self.status, **fields))

    def with_condition(self, kind: str, *, to: bool, reason: str, message: str) -> Self:
        """Return the draft with this condition set.

        1. An equal condition of the same type is left unchanged.
        2. The transition time changes only when the condition's status changes.
        3. A new condition is appended, so that the order is stable.
        """
        conditions, old = self.status.conditions, self.status.condition(kind)
        new = Condition(
            type=kind,
            status=to,
            reason=reason,
            message=truncate(message),
            last_transition_time=(
                old.last_transition_time if old is not None and old.status == to else self.now
            ),
            observed_generation=self.generation,
        )
        if old is None:
            return self.with_fields(conditions=(*conditions, new))
        if replace_fields(old, observed_generation=self.generation) == new:
            return self
        return self.with_fields(conditions=tuple(new if c is old else c for c in conditions))
