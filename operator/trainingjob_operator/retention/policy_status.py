"""The status of a policy after a run of the housekeeping: a log that kubectl shows."""

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
from trainingjob_operator.core.message_text import cut
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
    """Result of a run.

    Attributes:
        started_at: when it began.
        seconds: how long it took.
        next_at: when the next one is due.
        jobs_deleted: by it, and on time since the run before.
        errors: all in all.
        skipped: jobs that stay although they were due: how many, by reason.
        volume: how the sweep of the volume went; None: there was none.
        untold: what earlier runs did and no status says, for the sums of all runs.
    """

    started_at: datetime
    seconds: float
    next_at: datetime
    jobs_deleted: int = 0
    errors: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    volume: VolumeReport | None = None
    untold: Mapping[str, int] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, int]:
        """Return what it did, by the names that status has for it."""
        volume = self.volume or VolumeReport()
        return {
            "jobsDeleted": self.jobs_deleted,
            "filesRemoved": volume.files_removed,
            "directoriesRemoved": volume.directories_removed,
            "bytesFreed": volume.bytes_freed,
            "errors": self.errors,
        }

    def not_told(self) -> dict[str, int]:
        """Return what the sums of the next run take along, if this one's status was not written.

        Not the jobs: some of them went between the runs, and the job deleter counts them.
        """
        return {
            name: min(self.untold.get(name, 0) + count, _MAX_TOTAL)
            for name, count in self.figures.items()
            if name != "jobsDeleted"
        }


def status_patch(raw: Object, inherited: Inherited | None, run: Run, *, now: datetime) -> Object:
    """The patch of a policy's status, for the very version that was read.

    Args:
        raw: the policy as it was just read.
        inherited: what holds in its namespace; None: that is not known.
        run: how the run went.
        now: the time.
    """
    metadata, old, policy = raw["metadata"], as_dict(raw.get("status")), policy_view(raw)
    volume, last = run.volume or VolumeReport(), run.figures
    totals = as_dict(old.get("totals"))
    sums = {
        name: min(as_int(totals.get(name)) + run.untold.get(name, 0) + count, _MAX_TOTAL)
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
    """A merge patch of the whole table: what the last run had and this one has not, goes."""
    volume = run.volume.skipped if run.volume is not None else {}
    counted = {name: count for name, count in {**run.skipped, **volume}.items() if count}
    largest = sorted(counted, key=lambda name: -counted[name])[:_MAX_REASONS]
    now = {name: min(counted[name], _MAX_INT32) for name in sorted(largest)}
    return {name: None for name in old if name not in now} | now


def _conditions(old: Object, policy: PolicyView, run: Run, now: datetime) -> list[Object]:
    """Ours, and those of others that are there."""
    said = [
        (CONDITION_VALID, policy.invalid is None)
        + (
            (REASON_VALID, "")
            if policy.invalid is None
            else (REASON_INVALID_SPEC, f"{policy.invalid}; the default policy rules instead")
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
        "message": cut(message),
        "lastTransitionTime": since or time_text(now),
        "observedGeneration": policy.generation,
    }
