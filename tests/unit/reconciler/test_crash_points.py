"""The operator dies at every call that it makes, before the call takes effect and after it.

Each scenario is played once undisturbed, which tells how many calls it is made of. Then it is
played again for each of them: the operator dies there, the kubelet and the user go on, and a new
operator, which knows nothing, takes over from what the API server holds. Whatever the point, the
history must obey the protocol and the story must end as it would have ended.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster import (
    Crash,
    Effect,
    FakeCluster,
    Kubelet,
    LeapingLoop,
    LoopClock,
    OperatorLife,
    When,
)
from trainingjob_operator.constants import (
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB_UID,
    TERMINAL_CONDITIONS,
)

THE_END_S = 60.0
DOWNTIME_S = 1.5
Object = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """A story of one job of two ranks.

    Attributes:
        script: from attempt and rank to the exit code; None: runs until stopped.
        user: what is done to the cluster, and when (in seconds).
        end: fields of the last status.
        pods: how many pods are left.
    """

    name: str
    script: Callable[[int, int], int | None]
    end: Object
    pods: int
    user: dict[float, Callable[[FakeCluster], object]] = field(default_factory=dict)
    spec: Object = field(default_factory=dict)


def runs_for_ever(attempt: int, rank: int) -> int | None:
    return None


SCENARIOS = [
    Scenario(
        "it fails once and then succeeds",
        lambda attempt, rank: int((attempt, rank) == (0, 0)),
        {"phase": "Succeeded", "attempt": 1, "restarts": 1, "disruptions": 0},
        pods=2,
    ),
    Scenario(
        "it fails for good",
        lambda attempt, rank: 3 if rank == 1 else None,
        {"phase": "Failed", "attempt": 1, "restarts": 1, "disruptions": 0, "exitCode": 3},
        pods=1,
        spec={"backoff_limit": 1},
    ),
    Scenario(
        "it is suspended and resumed",
        lambda attempt, rank: 0 if attempt else None,
        {"phase": "Succeeded", "attempt": 1, "restarts": 0, "disruptions": 0},
        pods=2,
        user={8: lambda c: c.edit_job(suspend=True), 30: lambda c: c.edit_job(suspend=False)},
    ),
    Scenario(
        "it is shut down",
        runs_for_ever,
        {"phase": "Cancelled", "attempt": 0, "restarts": 0, "disruptions": 0},
        pods=0,
        user={8: lambda c: c.edit_job(shutdown="Stop"), 12: lambda c: c.edit_job(shutdown=None)},
    ),
    Scenario(
        "it loses a rank",
        runs_for_ever,
        {"phase": "Running", "attempt": 1, "restarts": 0, "disruptions": 1},
        pods=2,
        user={8: lambda c: c.lose_pod(c.pod(0, 1))},
    ),
    Scenario(
        "a rank is evicted and its peer fails of it",
        runs_for_ever,
        {"phase": "Running", "attempt": 1, "restarts": 0, "disruptions": 1},
        pods=2,
        user={8: lambda c: [c.evict_pod(c.pod(0, 0)), c.finish_pod(c.pod(0, 1), 1)]},  # type: ignore[func-returns-value]
    ),
    Scenario(
        "one rank is done and its pod removed before the other one fails",
        lambda attempt, rank: None if attempt == 0 else 0,
        {"phase": "Succeeded", "attempt": 1, "restarts": 1, "disruptions": 0},
        pods=2,
        user={
            8: lambda c: c.finish_pod(c.pod(0, 0)),
            16: lambda c: c.lose_pod(c.pod(0, 0)),
            24: lambda c: c.finish_pod(c.pod(0, 1), 9),
        },
    ),
]


# --- playing ----------------------------------------------------------------------------------


def play(scenario: Scenario, *crashes: tuple[int, When]) -> FakeCluster:
    """Play a scenario, with a crash at each of these points: one a life."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(_play(scenario, iter(crashes)))


async def _play(scenario: Scenario, crashes: Iterator[tuple[int, When]]) -> FakeCluster:
    clock = LoopClock()
    cluster = FakeCluster(clock)
    cluster.create_job(make_job(nodes=2, **scenario.spec))
    others = [
        asyncio.create_task(Kubelet(cluster, scenario.script).run()),
        asyncio.create_task(_act(cluster, scenario)),
    ]
    while clock.monotonic() < THE_END_S:
        if (crash := next(crashes, None)) is not None:
            cluster.crash_at(len(cluster.calls) + crash[0], crash[1])
        with suppress(Crash):
            async with OperatorLife(cluster):
                while not cluster.has_crashed and clock.monotonic() < THE_END_S:
                    await asyncio.sleep(0.25)
        cluster.revive()
        await asyncio.sleep(DOWNTIME_S)
    assert not others[1].cancelled()
    await others[1]
    others[0].cancel()
    await asyncio.wait(others)
    return cluster


async def _act(cluster: FakeCluster, scenario: Scenario) -> None:
    for at, act in scenario.user.items():
        await asyncio.sleep(at - cluster.clock.monotonic())
        act(cluster)


# --- what must hold of every history ----------------------------------------------------------


def violations(cluster: FakeCluster, scenario: Scenario) -> list[str]:
    """What is wrong with a history; nothing, if all is well."""
    statuses = [e.object["status"] for e in cluster.effects if e.method == "patch_job_status"]
    return [
        *_of_creation(cluster.effects),
        *_of_deletion(cluster.effects),
        *_of_counting([{}, *statuses]),
        *_of_the_end(statuses),
        *_of_the_outcome(cluster, scenario),
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
        is_over = _terminal(status) or "shutdown" in status
        if not is_over and _attempt(effect.object) >= status.get("attempt", 0):
            yield f"{_identity(effect.object)} was deleted before status said so"


def _of_counting(statuses: list[Object]) -> Iterator[str]:
    """Every attempt but the first is accounted for: a restart, a disruption or a suspension."""
    for old, new in itertools.pairwise(statuses):
        begun = new.get("attempt", 0) - old.get("attempt", 0)
        counted = _counted(new) - _counted(old)
        if not (begun == counted == 0 or (begun == 1 and counted == int(not _suspended(new)))):
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
    status = cluster.status()
    found = {name: status.get(name) for name in scenario.end}
    if found != scenario.end:
        yield f"it ended as {found}"
    if len(cluster.pods()) != scenario.pods:
        yield f"{len(cluster.pods())} pods are left"


def _identity(pod: Object) -> tuple[str, ...]:
    return tuple(pod["metadata"]["labels"][k] for k in (LABEL_JOB_UID, LABEL_ATTEMPT, LABEL_INDEX))


def _attempt(pod: Object) -> int:
    return int(pod["metadata"]["labels"][LABEL_ATTEMPT])


def _counted(status: Object) -> int:
    return int(status.get("restarts", 0)) + int(status.get("disruptions", 0))


def _suspended(status: Object) -> bool:
    return any(c["type"] == "Suspended" and c["status"] == "True" for c in status["conditions"])


def _terminal(status: Object) -> list[Object]:
    return [
        condition
        for condition in status.get("conditions", [])
        if condition["type"] in TERMINAL_CONDITIONS and condition["status"] == "True"
    ]


# --- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_undisturbed(scenario: Scenario) -> None:
    assert violations(play(scenario), scenario) == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_crash_at_any_call_changes_nothing(scenario: Scenario, when: When) -> None:
    calls = play(scenario).calls
    wrong = {
        f"crash {when} call {number}, {call.method} {call.name}": found
        for number, call in enumerate(calls)
        if (found := violations(play(scenario, (number, when)), scenario))
    }
    assert wrong == {}


def test_a_second_crash_while_the_first_is_made_good_changes_nothing() -> None:
    scenario = SCENARIOS[0]
    calls = len(play(scenario).calls)
    wrong = {
        (first, second): found
        for first in range(2, calls, 2)
        for second in range(2, 12, 3)
        if (found := violations(play(scenario, (first, "after"), (second, "after")), scenario))
    }
    assert wrong == {}
