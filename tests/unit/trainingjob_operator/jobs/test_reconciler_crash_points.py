"""The operator dies at every call that it makes, before the call takes effect and after it.

Each scenario is played once undisturbed, which tells how many calls it is made of. Then it is
played again for each of them: the operator dies there, the kubelet and the user go on, and a new
operator, which knows nothing, takes over from what the API server holds. Whatever the point, the
history must obey the protocol and the story must end as it would have ended.
"""

import functools
from dataclasses import replace
from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.crashes import Scenario, ScenarioRun, run_scenario, violations
from tests.support.cluster.objects import When
from tests.support.markers import quick
from tests.support.records.endpoint import FakeEndpoint
from trainingjob_api.constants import LABEL_ATTEMPT
from trainingjob_api.errors import EndpointUnavailableError

Object = dict[str, Any]
DOWN = EndpointUnavailableError("cannot be reached")


def runs_for_ever(attempt: int, rank: int) -> int | None:
    return None


def is_down(endpoint: FakeEndpoint) -> None:
    endpoint.down = DOWN


def lose_earlier_attempts(cluster: FakeCluster) -> None:
    """Whatever is left of attempts that are over is deleted by force."""
    for pod in cluster.pods():
        if int(pod["metadata"]["labels"][LABEL_ATTEMPT]) < cluster.status().get("attempt", 0):
            cluster.lose_pod(pod)


def is_back(endpoint: FakeEndpoint) -> None:
    endpoint.down = None


def loses_answers(endpoint: FakeEndpoint) -> None:
    endpoint.lost = 2


GIVES_BACK = Scenario(
    "it gets a part of its pods, gives them back, and gets all of them later",
    runs_for_ever,
    {"phase": "Succeeded", "restarts": 0, "disruptions": 0},
    pods=2,
    user={
        0: lambda c: setattr(c, "pod_quota", 1),
        10: lambda c: setattr(c, "pod_quota", 2),
        48: lambda c: [c.finish_pod(pod) for pod in c.pods()],  # type: ignore[func-returns-value]
    },
    volume=True,
)
IS_SUSPENDED = Scenario(
    "it is suspended and resumed, and its logs are archived",
    lambda attempt, rank: 0 if attempt else None,
    {"phase": "Succeeded", "attempt": 1, "restarts": 0, "disruptions": 0},
    pods=2,
    user={8: lambda c: c.edit_job(suspend=True), 30: lambda c: c.edit_job(suspend=False)},
    volume=True,
)

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
    Scenario(
        "it completes and leaves a record",
        lambda attempt, rank: 0,
        {"phase": "Succeeded", "attempt": 0, "restarts": 0},
        pods=2,
        endpoint={},
    ),
    Scenario(
        "it restarts, fails for good and leaves a record",
        lambda attempt, rank: 3 if rank == 1 else None,
        {"phase": "Failed", "attempt": 1, "restarts": 1, "exitCode": 3},
        pods=1,
        spec={"backoff_limit": 1},
        endpoint={},
    ),
    Scenario(
        "its record waits for the endpoint",
        lambda attempt, rank: 0,
        {"phase": "Succeeded", "attempt": 0, "restarts": 0},
        pods=2,
        endpoint={0: is_down, 20: is_back},
    ),
    Scenario(
        "the answers to its record are lost",
        lambda attempt, rank: 0,
        {"phase": "Succeeded", "attempt": 0, "restarts": 0},
        pods=2,
        endpoint={0: loses_answers},
    ),
    Scenario(
        "it is deleted while it runs",
        runs_for_ever,
        {"phase": "Cancelled", "reason": "Deleted", "attempt": 0},
        pods=0,
        user={8: lambda c: c.delete_job()},
        endpoint={},
        gone=True,
    ),
    Scenario(
        "it is deleted while its record waits",
        lambda attempt, rank: 0,
        {"phase": "Succeeded", "attempt": 0},
        pods=0,
        user={12: lambda c: c.delete_job()},
        endpoint={0: is_down, 20: is_back},
        gone=True,
    ),
    Scenario(
        "it fails once, then succeeds, and its logs are archived",
        lambda attempt, rank: int((attempt, rank) == (0, 0)),
        {"phase": "Succeeded", "attempt": 1, "restarts": 1, "disruptions": 0},
        pods=0,
        spec={"cleanPodPolicy": "All"},
        endpoint={},
        volume=True,
    ),
    Scenario(
        "it is deleted while it runs, and its logs are archived",
        runs_for_ever,
        {"phase": "Cancelled", "reason": "Deleted", "attempt": 0},
        pods=0,
        user={8: lambda c: c.delete_job()},
        endpoint={},
        gone=True,
        volume=True,
    ),
    Scenario(
        "it is shut down before one of its ranks has begun, which has no log to miss",
        runs_for_ever,
        {"phase": "Cancelled", "attempt": 0, "restarts": 0, "disruptions": 0},
        pods=0,
        user={8: lambda c: c.edit_job(shutdown="Stop")},
        endpoint={},
        volume=True,
        idle=frozenset({1}),
    ),
    GIVES_BACK,
    IS_SUSPENDED,
    Scenario(
        "it fails once, and its pods go while the operator is away",
        lambda attempt, rank: int((attempt, rank) == (0, 0)),
        {"phase": "Succeeded", "attempt": 1, "restarts": 1, "disruptions": 0},
        pods=2,
        volume=True,
        away=lose_earlier_attempts,
    ),
    replace(
        IS_SUSPENDED,
        name="it is suspended and resumed, and its pods go while the operator is away",
        away=lose_earlier_attempts,
    ),
    replace(
        GIVES_BACK,
        name="it gives a part of its pods back, which go while the operator is away",
        away=lose_earlier_attempts,
    ),
]


PARTS = 10
"""Of the calls of a scenario, each tenth is a test of its own: a quick run has the first."""


@functools.cache
def undisturbed(name: str) -> ScenarioRun:
    """Play the scenario of this name as it is, once for all its tests."""
    return run_scenario(next(each for each in SCENARIOS if each.name == name))


# --- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_undisturbed(scenario: Scenario) -> None:
    assert violations(undisturbed(scenario.name), scenario) == []


@pytest.mark.parametrize("part", quick(range(PARTS), in_quick=[0]))
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_crash_at_any_call_changes_nothing(scenario: Scenario, when: When, part: int) -> None:
    calls = list(enumerate(undisturbed(scenario.name).cluster.calls))
    wrong = {
        f"crash {when} call {number}, {call.method} {call.name}": found
        for number, call in calls[part::PARTS]
        if (found := violations(run_scenario(scenario, (number, when)), scenario))
    }
    assert wrong == {}


@pytest.mark.long
def test_a_second_crash_while_the_first_is_made_good_changes_nothing() -> None:
    scenario = SCENARIOS[0]
    calls = len(undisturbed(scenario.name).cluster.calls)
    wrong = {
        (first, second): found
        for first in range(2, calls, 2)
        for second in range(2, 12, 3)
        if (
            found := violations(
                run_scenario(scenario, (first, "after"), (second, "after")), scenario
            )
        )
    }
    assert wrong == {}
