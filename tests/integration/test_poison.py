"""A hundred jobs that violate the schema neither delay a valid one nor crash the operator."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.server_internals import put_raw
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.processes import eventually
from tests.support.processes.stopwatch import Stopwatch

pytestmark = pytest.mark.sandbox_only
"""They are stored without validation, which a real API server does not permit."""

Object = dict[str, Any]
DELAY_S = 2.0


def deep(levels: int) -> Object:
    value: Object = {}
    for _ in range(levels):
        value = {"nested": value}
    return value


def spec(**fields: Any) -> Object:
    return {**make_job()["spec"], **fields}


def template(**fields: Any) -> Object:
    return spec(template={"spec": {"containers": [{"name": "c", "image": "x", **fields}]}})


POISON: dict[str, Callable[[], Any]] = {
    "no-spec": lambda: None,
    "spec-is-text": lambda: "train",
    "spec-is-a-list": lambda: [1, 2, 3],
    "no-template": dict,
    "template-is-text": lambda: spec(template="x"),
    "template-is-deep": lambda: spec(template=deep(400)),
    "containers-is-a-number": lambda: spec(template={"spec": {"containers": 7}}),
    "nodes-are-negative": lambda: spec(numNodes=-3),
    "nodes-are-nan": lambda: spec(numNodes=float("nan")),
    "nodes-are-infinite": lambda: spec(numNodes=float("inf")),
    "nodes-are-a-million": lambda: spec(numNodes=10**6),
    "nodes-are-text": lambda: spec(numNodes="two"),
    "nodes-are-true": lambda: spec(numNodes=True),
    "backoff-is-a-fraction": lambda: spec(backoffLimit=1.5),
    "deadline-is-huge": lambda: spec(activeDeadlineSeconds=10**30),
    "framework-is-unicode": lambda: spec(framework="Tørch \u202e\x00\x1b[31m"),
    "shutdown-is-a-list": lambda: spec(shutdown=["Stop"]),
    "policy-is-nonsense": lambda: spec(podFailurePolicy={"rules": [{"action": 3}]}),
    "logs-is-text": lambda: spec(logs="please"),
    "a-megabyte": lambda: spec(framework="x" * 10**6),
}

UNWRITABLE = frozenset(
    {"no-spec", "spec-is-text", "spec-is-a-list", "no-template", "nodes-are-nan"}
)
"""Of these not even the status can be written: the CRD's own rules of immutability cannot be
evaluated on such a spec (a NaN is not equal to itself), so the server refuses every write."""


@pytest.fixture
def operator(own_api_server: ApiServerUnderTest, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(own_api_server.kubeconfig, tmp_path / "operator.log") as process:
        process.wait_until_ready()
        yield process


def put_job(server: ApiServerUnderTest, name: str, spec: Any) -> None:
    job = {**make_job(name), "spec": spec}
    server.inside.call(lambda inside: put_raw(inside.store, job))


async def test_invalid_jobs_fail_without_affecting_others(
    operator: OperatorProcess, own_api_server: ApiServerUnderTest, own_api: Api
) -> None:
    for copy in range(5):
        for name, poison in POISON.items():
            put_job(own_api_server, f"{name}-{copy}", poison())
    took = Stopwatch.including_this_process(operator.process.pid)
    await own_api.apply(make_job("healthy"))

    await own_api.wait_for_pods("healthy", 1)
    assert took.seconds() < DELAY_S

    for copy in range(5):
        for name in POISON.keys() - UNWRITABLE:
            status = await own_api.wait_for_phase(f"{name}-{copy}", "Failed")
            outcome = condition(status, "Failed")
            assert outcome["reason"] in {"InvalidSpec", "InvalidPodTemplate"}
            assert "spec" in outcome["message"]
            assert len(outcome["message"].encode()) <= 1024
    unwritable = [f"job ml/{name}-{copy}: " for copy in range(5) for name in UNWRITABLE]
    # Several jobs are looked at at once: the last of these may take longer than the others.
    await eventually(lambda: all(said in operator.log() for said in unwritable))
    log = operator.log()
    for said in unwritable:  # once, and not tried again before a minute is over
        assert log.count(said) == 1
    assert took.seconds() < 20
    assert operator.is_running
    assert operator.probe("/healthz")[0] == 200
    assert "Traceback" not in operator.log()


async def test_a_name_too_long_for_a_pod_is_rejected_without_a_hot_loop(
    operator: OperatorProcess, own_api_server: ApiServerUnderTest, own_api: Api
) -> None:
    put_job(own_api_server, "n" * 300, make_job()["spec"])
    await own_api.apply(make_job("witness"))

    await own_api.wait_for_pods("witness", 1)

    # Both are looked at at once: the witness may have its pod before the other one is refused.
    await eventually(lambda: "at most 63 characters" in operator.log())
    assert operator.log().count("at most 63 characters") == 1


async def test_an_invalid_pod_template_fails_only_its_job(
    operator: OperatorProcess, own_api_server: ApiServerUnderTest, own_api: Api
) -> None:
    put_job(own_api_server, "odd", template(name=None))

    status = await own_api.wait_for_phase("odd", "Failed")

    assert condition(status, "Failed")["reason"] in {"InvalidPodTemplate", "InvalidSpec"}


async def test_an_invalid_status_is_ignored(
    operator: OperatorProcess, own_api_server: ApiServerUnderTest, own_api: Api
) -> None:
    job = make_job("edited")
    job["status"] = {"attempt": "seven", "conditions": "none", "completedIndexes": "0-999999999"}
    own_api_server.inside.call(lambda inside: put_raw(inside.store, job))

    took = Stopwatch.including_this_process(operator.process.pid)
    async with asyncio.timeout(60):
        while not (await own_api.job("edited")).get("status", {}).get("observedGeneration"):
            await asyncio.sleep(0.02)
    assert took.seconds() < DELAY_S

    assert operator.is_running
