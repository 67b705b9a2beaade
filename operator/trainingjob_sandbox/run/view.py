"""Computes the view of a job and its ranks that a run shows, from raw API objects.

Pure functions. `job_follower` reads the objects; `screen` and `live` draw the view.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from trainingjob_api.constants import (
    ANNOTATION_MAIN_CONTAINER,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_UID,
    MAIN_CONTAINER,
)

Object = dict[str, Any]

_OUTCOMES: Final = ("Complete", "Failed", "Cancelled")
_USUAL_WAITS: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Normal, temporary reasons of a waiting container, which are not reported."""


@dataclass(frozen=True, slots=True)
class RankView:
    """One rank of the current attempt.

    Attributes:
        pod: the name of its pod; "" if there is none, yet or any more.
        phase: the pod's phase, or the reason why it does not start.
        exit_code: exit code of its main container, once that has terminated.
        started: start time of its pod, or creation time.
        ended: time when its main container terminated.
        trouble: why it does not start, if a user has to act; else "".
    """

    rank: int
    pod: str = ""
    phase: str = "Waiting"
    exit_code: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """A snapshot of the job.

    Attributes:
        phase: `Pending`, `Running`, ... as in the job's status.
        attempt: the attempt of the ranks shown, from 0.
        ranks: all ranks, in order.
        troubles: messages about what keeps the job from running, without duplicates.
        outcome: `Complete`, `Failed` or `Cancelled` once it is finished, else "".
        reason: reason of the outcome's condition.
        message: message of the outcome's condition.
        exit_code: exit code of the rank that decided the outcome.
    """

    name: str
    phase: str = "Pending"
    attempt: int = 0
    restarts: int = 0
    ranks: tuple[RankView, ...] = ()
    troubles: tuple[str, ...] = ()
    outcome: str = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None


def view_job(job: Object, pods: Iterable[Object]) -> JobView:
    """Return the view of a job, from the job and its existing pods."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    outcome = next((name for name in _OUTCOMES if _is_true(conditions, name)), "")
    decided = conditions.get(outcome, {})
    mine = [pod for pod in pods if belongs_to(pod, job)]
    # Pods are created before status has their attempt, and status has it before the old pods are deleted.
    attempt = max([status.get("attempt") or 0, *map(attempt_of, mine)])
    ranks = _ranks(spec, status, [pod for pod in mine if attempt_of(pod) == attempt])
    return JobView(
        name=job["metadata"]["name"],
        phase=status.get("phase") or "Pending",
        attempt=attempt,
        restarts=status.get("restarts") or 0,
        ranks=ranks,
        troubles=() if outcome else tuple(dict.fromkeys(_troubles(conditions, ranks))),
        outcome=outcome,
        reason=decided.get("reason") or "",
        message=decided.get("message") or "",
        exit_code=status.get("exitCode"),
    )


def belongs_to(pod: Object, job: Object) -> bool:
    """True if the pod's job-uid label is the job's uid."""
    return _labels(pod).get(LABEL_JOB_UID) == str(job["metadata"]["uid"])


def rank_of(pod: Object) -> int:
    """Return the rank of a job's pod, from its label."""
    return int(_labels(pod).get(LABEL_INDEX, "0"))


def attempt_of(pod: Object) -> int:
    """Return the attempt of a job's pod, from its label."""
    return int(_labels(pod).get(LABEL_ATTEMPT, "0"))


def main_container(pod: Object) -> str:
    """Return the name of the pod's main container, whose log is shown as the rank's."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    remembered = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_MAIN_CONTAINER)
    wanted = (name for name in (remembered, MAIN_CONTAINER) if name in names)
    return str(next(wanted, names[0]))


def main_state(pod: Object) -> tuple[str, Object]:
    """Return the main container's state (`waiting`, `running` or `terminated`) and its details."""
    name = main_container(pod)
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if container["name"] == name:
            return next(iter((container.get("state") or {}).items()), ("waiting", {}))
    return "waiting", {}


def changes(before: JobView, after: JobView) -> Iterator[str]:
    """Yield a message for each difference between two views of a job."""
    if after.attempt != before.attempt:
        yield f"attempt {after.attempt} starts"
    if after.phase != before.phase:
        yield after.phase
    for trouble in after.troubles:
        if trouble not in before.troubles:
            yield trouble
    known: Mapping[str, RankView] = {rank.pod: rank for rank in before.ranks}
    for rank in after.ranks:
        was = known.get(rank.pod)
        if rank.exit_code is not None and (was is None or was.exit_code is None):
            yield f"rank {rank.rank} ended with exit code {rank.exit_code}"


def summary(view: JobView, *, seconds: float) -> list[str]:
    """Return the final lines about a finished job."""
    tries = view.attempt + 1
    facts = [
        f"{tries} attempt{'s' if tries > 1 else ''}",
        f"{seconds:.1f} s",
    ]
    if view.exit_code is not None:
        facts.insert(0, f"exit code {view.exit_code}")
    return [
        f"{view.name} {view.outcome}: {view.reason}",
        *([f"  {view.message}"] if view.message else []),
        f"  {', '.join(facts)}",
    ]


def _ranks(spec: Object, status: Object, pods: Iterable[Object]) -> tuple[RankView, ...]:
    by_rank = {rank_of(pod): pod for pod in pods}
    done = parse_indexes(status.get("completedIndexes") or "")
    views = []
    for rank in range(spec.get("numNodes") or 1):
        if pod := by_rank.get(rank):
            views.append(_rank(rank, pod))
        else:
            views.append(RankView(rank, phase="Succeeded" if rank in done else "Waiting"))
    return tuple(views)


def _rank(rank: int, pod: Object) -> RankView:
    metadata, status = pod["metadata"], pod.get("status") or {}
    state, detail = main_state(pod)
    reason = detail.get("reason") or "" if state == "waiting" else ""
    trouble = ""
    if reason not in _USUAL_WAITS:
        trouble = f"rank {rank}: {reason}: {detail.get('message') or 'no message'}"
    ended = state == "terminated"
    phase = status.get("phase") or "Pending"
    if metadata.get("deletionTimestamp") and not ended:
        phase = "Terminating"
    elif trouble:
        phase = reason
    return RankView(
        rank=rank,
        pod=metadata["name"],
        phase=phase,
        exit_code=detail.get("exitCode") if ended else None,
        started=_time(status.get("startTime") or metadata.get("creationTimestamp")),
        ended=_time(detail.get("finishedAt")) if ended else None,
        trouble=trouble,
    )


def _troubles(conditions: Mapping[str, Object], ranks: Iterable[RankView]) -> Iterator[str]:
    ready = conditions.get("PodsReady") or {}
    if ready.get("status") == "False" and ready.get("reason") != "PodsNotReady":
        yield f"{ready['reason']}: {ready.get('message') or 'no message'}"
    if _is_true(conditions, "Restarting"):
        restarting = conditions["Restarting"]
        yield f"{restarting['reason']}: {restarting.get('message') or 'the next attempt follows'}"
    yield from (rank.trouble for rank in ranks if rank.trouble)


def parse_indexes(text: str) -> frozenset[int]:
    """Parse `0,2-5`, the format of `status.completedIndexes`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _is_true(conditions: Mapping[str, Object], name: str) -> bool:
    return (conditions.get(name) or {}).get("status") == "True"


def _labels(pod: Object) -> Mapping[str, str]:
    return pod["metadata"].get("labels") or {}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
