"""Runs scenarios of one job with operator crashes, and checks the invariants of every run."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.kubelet import Kubelet
from tests.support.cluster.memory_log_store import MemoryLogStore
from tests.support.cluster.objects import Crash, Effect, When
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import LoopClock, SimulatedTimeLoop
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.constants import (
    FINALIZER_RECORD,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_UID,
    TERMINAL_CONDITIONS,
)

THE_END_S = 60.0
DOWNTIME_S = 1.5
PARTIAL_HOLD_S = 4.0
Object = dict[str, Any]
S = TypeVar("S")


@dataclass(frozen=True)
class Scenario:
    """A scenario of one job of two ranks.

    Attributes:
        script: from attempt and rank to the exit code; None: runs until stopped.
        user: actions on the cluster, with their times in seconds.
        end: expected fields of the last status.
        pods: expected number of remaining pods.
        endpoint: actions on the record endpoint, with their times; None: no endpoint.
        gone: the job is gone in the end, and its last row has the fields of `end`.
        volume: there is a log volume.
        away: what is done to the cluster after each crash, while no operator runs. Logs may be
            missing then, and the job has to say so.
        idle: ranks whose pods never start.
    """

    name: str
    script: Callable[[int, int], int | None]
    end: Object
    pods: int
    user: dict[float, Callable[[FakeCluster], object]] = field(default_factory=dict)
    spec: Object = field(default_factory=dict)
    endpoint: dict[float, Callable[[FakeEndpoint], object]] | None = None
    gone: bool = False
    volume: bool = False
    away: Callable[[FakeCluster], object] | None = None
    idle: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ScenarioRun:
    """The result of a scenario."""

    cluster: FakeCluster
    endpoint: FakeEndpoint
    store: MemoryLogStore


# --- playing ---------------------------------------------------------------------------------


def run_scenario(scenario: Scenario, *crashes: tuple[int, When]) -> ScenarioRun:
    """Play a scenario, with a crash at each of these points: one a life."""
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        return runner.run(_play(scenario, iter(crashes)))


async def _play(scenario: Scenario, crashes: Iterator[tuple[int, When]]) -> ScenarioRun:
    clock = LoopClock()
    cluster = FakeCluster(clock)
    endpoint = FakeEndpoint(cluster)
    store = MemoryLogStore(cluster)
    cluster.create_job(make_job(nodes=2, **scenario.spec))
    others = [
        asyncio.create_task(Kubelet(cluster, scenario.script, idle=scenario.idle).run()),
        asyncio.create_task(_act(clock, cluster, scenario.user)),
        asyncio.create_task(_act(clock, endpoint, scenario.endpoint or {})),
    ]
    while clock.monotonic() < THE_END_S:
        if (crash := next(crashes, None)) is not None:
            cluster.crash_at(len(cluster.calls) + crash[0], crash[1])
        with suppress(Crash):
            recorded = endpoint if scenario.endpoint is not None else None
            archive = store if scenario.volume else None
            async with SimulatedOperator(
                cluster, endpoint=recorded, store=archive, partial_hold_s=PARTIAL_HOLD_S
            ):
                while not cluster.has_crashed and clock.monotonic() < THE_END_S:
                    await asyncio.sleep(0.25)
        if cluster.has_crashed and scenario.away is not None:
            scenario.away(cluster)
        cluster.revive()
        await asyncio.sleep(DOWNTIME_S)
    await asyncio.gather(*others[1:])
    others[0].cancel()
    await asyncio.wait(others)
    return ScenarioRun(cluster, endpoint, store)


async def _act(clock: LoopClock, subject: S, acts: dict[float, Callable[[S], object]]) -> None:
    for at, act in acts.items():
        await asyncio.sleep(at - clock.monotonic())
        act(subject)


# --- what must hold of every history ----------------------------------------------------------


def violations(played: ScenarioRun, scenario: Scenario) -> list[str]:
    """Return the violated invariants of a result; empty if there are none."""
    cluster = played.cluster
    statuses = [e.object["status"] for e in cluster.effects if e.method == "patch_job_status"]
    return [
        *_of_creation(cluster.effects),
        *_of_deletion(cluster.effects),
        *_of_counting([{}, *statuses]),
        *_of_the_end(statuses),
        *_of_the_outcome(cluster, scenario),
        *(_of_the_record(played, scenario) if scenario.endpoint is not None else ()),
        *(_of_the_logs(played, scenario) if scenario.volume else ()),
    ]


def _of_creation(effects: list[Effect]) -> Iterator[str]:
    created = [e for e in effects if e.method == "create_pod"]
    for identity, times in Counter(_identity(e.object) for e in created).items():
        if times > 1:
            yield f"{identity} was created {times} times"
    for effect in created:
        if _attempt(effect.object) != effect.job_status.get("attempt", 0):
            yield f"{_identity(effect.object)} was created outside of the current attempt"
        if _terminal(effect.job_status):
            yield f"{_identity(effect.object)} was created for a job that had finished"


def _of_deletion(effects: list[Effect]) -> Iterator[str]:
    for effect in effects:
        if effect.method != "delete_pod":
            continue
        status = effect.job_status
        is_over = _terminal(status) or "shutdown" in status or effect.is_deleted
        if not is_over and _attempt(effect.object) >= status.get("attempt", 0):
            yield f"{_identity(effect.object)} was deleted before status said so"


def _of_counting(statuses: list[Object]) -> Iterator[str]:
    """Every attempt but the first is accounted for.

    It is a restart, a disruption, a suspension, or a partly created gang that was deleted.
    """
    for old, new in itertools.pairwise(statuses):
        begun = new.get("attempt", 0) - old.get("attempt", 0)
        counted = _counted(new) - _counted(old)
        if not (begun == counted == 0 or (begun == 1 and counted == _counts(new))):
            yield f"{begun} attempts begun and {counted} counted in one write: {new}"


def _of_the_end(statuses: list[Object]) -> Iterator[str]:
    ends = [end for status in statuses if (end := _terminal(status))]
    if any(len(end) != 1 for end in ends):
        yield f"more than one terminal condition: {ends}"
    if any(end != ends[0] for end in ends):
        yield f"the terminal condition changed: {ends}"
    first = next((n for n, status in enumerate(statuses) if _terminal(status)), len(statuses))
    if not all(_terminal(status) for status in statuses[first:]):
        yield "a job that had finished came back"


def _of_the_outcome(cluster: FakeCluster, scenario: Scenario) -> Iterator[str]:
    if len(cluster.pods()) != scenario.pods:
        yield f"{len(cluster.pods())} pods are left"
    if bool(cluster.jobs()) is scenario.gone:
        yield "the job is still there" if scenario.gone else "the job is gone"
        return
    if not scenario.gone:
        status = cluster.status()
        found = {name: status.get(name) for name in scenario.end}
        if found != scenario.end:
            yield f"it ended as {found}"


def _of_the_record(played: ScenarioRun, scenario: Scenario) -> Iterator[str]:
    """Every job has exactly one record, and the record agrees with the job's status."""
    rows = list(played.endpoint.rows.values())
    if len(rows) != 1:
        yield f"{len(rows)} rows"
        return
    (row,) = rows
    found = {name: row[name] for name in scenario.end}
    if found != scenario.end:
        yield f"its row says {found}"
    yield from _of_claims(played.cluster.effects)
    yield from _of_revisions(played.endpoint.taken)
    if played.cluster.jobs():
        status = played.cluster.status()
        last = (status.get("recordState"), status.get("recordRevision"))
        if last != ("Stored", row["revision"]):
            yield f"its record is {last}, its row has revision {row['revision']}"
        if FINALIZER_RECORD in played.cluster.job()["metadata"].get("finalizers", []):
            yield "it is still held"


def _of_the_logs(played: ScenarioRun, scenario: Scenario) -> Iterator[str]:
    """Every log is archived, none of them twice, and the job says so as its last word.

    Where pods went while no operator ran, the job says whether logs are missing.
    """
    cluster = played.cluster
    complete = True
    for job in {effect.job["metadata"]["uid"] for effect in cluster.effects if effect.job}:
        archived = Counter(played.store.headers(job))
        complete = archived == Counter(cluster.started)
        if not complete and (scenario.away is None or not archived < Counter(cluster.started)):
            yield f"archived are {archived}, and {cluster.started} have run"
    for row in played.endpoint.rows.values():
        if not row["logs"] or not row["logs"]["bytes"]:
            yield f"its row says of its logs: {row['logs']}"
    for job in cluster.jobs():
        found = [c for c in job["status"]["conditions"] if c["type"] == "LogsArchived"]
        if [c["reason"] for c in found] != ["Archived" if complete else "Truncated"]:
            yield f"it says of its logs: {found}"
        if "unread" in job["status"]["logs"]:
            yield f"it still looks for logs: {job['status']['logs']}"


def _of_claims(effects: list[Effect]) -> Iterator[str]:
    for effect in effects:
        state = effect.job_status.get("recordState")
        if effect.method == "set_record_finalizer" and not effect.is_claimed and state != "Stored":
            yield f"it was let go while its record was {state}"
        if effect.method == "create_pod" and not effect.is_claimed:
            yield "a pod was created before the claim"


def _of_revisions(taken: list[Object]) -> Iterator[str]:
    writes: dict[int, Object] = {}
    for write in taken:
        if writes.setdefault(write["revision"], write) != write:
            yield f"revision {write['revision']} was taken twice, with other content"


def _identity(pod: Object) -> tuple[str, ...]:
    return tuple(pod["metadata"]["labels"][k] for k in (LABEL_JOB_UID, LABEL_ATTEMPT, LABEL_INDEX))


def _attempt(pod: Object) -> int:
    return int(pod["metadata"]["labels"][LABEL_ATTEMPT])


def _counted(status: Object) -> int:
    return int(status.get("restarts", 0)) + int(status.get("disruptions", 0))


def _counts(status: Object) -> int:
    given_back = any(
        c["type"] == "Restarting" and c["status"] == "True" and c["reason"] == "PartlyRefused"
        for c in status.get("conditions", [])
    )
    return int(not _suspended(status) and not given_back)


def _suspended(status: Object) -> bool:
    return any(c["type"] == "Suspended" and c["status"] == "True" for c in status["conditions"])


def _terminal(status: Object) -> list[Object]:
    return [
        condition
        for condition in status.get("conditions", [])
        if condition["type"] in TERMINAL_CONDITIONS and condition["status"] == "True"
    ]
