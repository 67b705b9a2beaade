"""Builds the status patch of a policy after a run: counts, totals and conditions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from trainingjob_api.constants import (
    CONDITION_VALID,
    CONDITION_VOLUME_HEALTHY,
    POLICY_CONDITIONS,
    REASON_INVALID_SPEC,
    REASON_VALID,
)
from trainingjob_operator.core.message_text import truncate
from trainingjob_operator.core.observe_policy import PolicyView, policy_view
from trainingjob_operator.core.retention import Inherited
from trainingjob_operator.core.untyped_json import as_dict, as_dicts, as_int, as_str, time_text
from trainingjob_operator.volume.sweep.rules import VolumeReport

Object = dict[str, Any]

_MAX_INT32: Final = 2**31 - 1
_MAX_TOTAL: Final = 2**53 - 1
_MAX_REASONS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of a run.

    Attributes:
        started_at: the start of the run.
        seconds: its duration.
        next_at: the start of the next run.
        jobs_deleted: jobs deleted by the run, and on time since the run before.
        errors: the number of all errors.
        skipped: the number of due jobs that were kept, by reason.
        volume: the report of the sweep of the volume; None: there was none.
        unreported_totals: the totals of earlier runs whose status could not be written.
    """

    started_at: datetime
    seconds: float
    next_at: datetime
    jobs_deleted: int = 0
    errors: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    volume: VolumeReport | None = None
    unreported_totals: Mapping[str, int] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, int]:
        """The counts of the run, by their names in the status."""
        volume = self.volume or VolumeReport()
        return {
            "jobsDeleted": self.jobs_deleted,
            "filesRemoved": volume.files_removed,
            "directoriesRemoved": volume.directories_removed,
            "bytesFreed": volume.bytes_freed,
            "errors": self.errors,
        }

    def totals_to_report(self) -> dict[str, int]:
        """Return the totals that the next run has to add, if this one's status was not written.

        Deleted jobs are not among them: `UnreportedTotals` keeps their number separately, since
        some are deleted between the runs.
        """
        return {
            name: min(self.unreported_totals.get(name, 0) + count, _MAX_TOTAL)
            for name, count in self.figures.items()
            if name != "jobsDeleted"
        }


def status_patch(raw: Object, inherited: Inherited | None, run: Run, *, now: datetime) -> Object:
    """Return the patch of a policy's status, with uid and resourceVersion as preconditions.

    Args:
        raw: the policy as just read.
        inherited: the rules of its namespace; None: unknown.
        run: the result of the run.
        now: the time.
    """
    metadata, old, policy = raw["metadata"], as_dict(raw.get("status")), policy_view(raw)
    volume, last = run.volume or VolumeReport(), run.figures
    totals = as_dict(old.get("totals"))
    sums = {
        name: min(
            as_int(totals.get(name)) + run.unreported_totals.get(name, 0) + count, _MAX_TOTAL
        )
        for name, count in last.items()
    }
    status: Object = {
        "observedGeneration": policy.generation,
        "ttlSecondsAfterFinished": _ttl(inherited),
        "lastSweepTime": time_text(run.started_at),
        "lastDurationSeconds": min(math.ceil(run.seconds), _MAX_INT32),
        "nextSweepTime": time_text(run.next_at),
        **{name: min(count, _limit(name)) for name, count in last.items()},
        "skipped": _skipped(as_dict(old.get("skipped")), run),
        "totals": sums,
        "conditions": _conditions(old, policy, run, now),
    }
    if volume.volume_id is not None:
        status["volumeId"] = volume.volume_id
    preconditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    return {"metadata": preconditions, "status": status}


def _ttl(inherited: Inherited | None) -> int | None:
    return int(inherited.ttl_after("any")[0]) if inherited is not None else None


def _limit(name: str) -> int:
    return _MAX_TOTAL if name == "bytesFreed" else _MAX_INT32


def _skipped(old: Mapping[str, Any], run: Run) -> Object:
    """Return a merge patch of the table, which removes the reasons that are missing in this run."""
    volume = run.volume.skipped if run.volume is not None else {}
    counted = {name: count for name, count in {**run.skipped, **volume}.items() if count}
    largest = sorted(counted, key=lambda name: -counted[name])[:_MAX_REASONS]
    now = {name: min(counted[name], _MAX_INT32) for name in sorted(largest)}
    return {name: None for name in old if name not in now} | now


def _conditions(old: Object, policy: PolicyView, run: Run, now: datetime) -> list[Object]:
    """Return our conditions and the existing ones of others."""
    said = [
        (CONDITION_VALID, policy.invalid is None)
        + (
            (REASON_VALID, "")
            if policy.invalid is None
            else (REASON_INVALID_SPEC, f"{policy.invalid}; the default policy applies instead")
        )
    ]
    volume = run.volume
    if volume is not None and volume.healthy is not None:
        said.append((CONDITION_VOLUME_HEALTHY, volume.healthy, volume.reason, volume.message))
    before = {as_str(each.get("type")): each for each in as_dicts(old.get("conditions"))}
    others = [each for kind, each in before.items() if kind not in POLICY_CONDITIONS]
    return others + [
        _condition(before.get(kind, {}), policy, now, (kind, to, reason, message))
        for kind, to, reason, message in said
    ]


def _condition(
    old: Object, policy: PolicyView, now: datetime, said: tuple[str, bool, str, str]
) -> Object:
    kind, to, reason, message = said
    status = "True" if to else "False"
    since = as_str(old.get("lastTransitionTime")) if old.get("status") == status else ""
    return {
        "type": kind,
        "status": status,
        "reason": reason or "Unknown",
        "message": truncate(message),
        "lastTransitionTime": since or time_text(now),
        "observedGeneration": policy.generation,
    }
