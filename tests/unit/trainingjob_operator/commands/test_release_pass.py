"""Releasing finalizers for an uninstall: no record is lost before it was passed on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_api.constants import FINALIZER_RECORD, FINALIZER_RETENTION
from trainingjob_api.errors import (
    ConflictError,
    EndpointUnavailableError,
    InvalidError,
    KubernetesError,
    RecordConflictError,
    RecordError,
    RecordRejectedError,
    UnavailableError,
)
from trainingjob_operator.commands.release_pass import ReleasePass, ReleaseReport
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.kube.cluster import Page
from trainingjob_operator.records.outbox import Writer

Object = dict[str, Any]


def finished_job(name: str) -> Object:
    raw = make_job(name)
    ended = {"lastTransitionTime": "2026-01-01T00:00:00Z", "status": "True", "reason": "Done"}
    raw["metadata"] |= {"uid": f"uid-{name}", "finalizers": [FINALIZER_RECORD]}
    raw["metadata"] |= {"resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    raw["status"] = {
        "phase": "Succeeded",
        "recordState": "Pending",
        "recordRevision": 1,
        "conditions": [{"type": kind} | ended for kind in ("Complete", "Finished")],
    }
    return raw


class Objects(FakeCluster):
    """Jobs, of which one is refused."""

    def __init__(self, names: list[str], refused: str, error: KubernetesError) -> None:
        super().__init__()
        self.found = [finished_job(name) for name in names]
        self.refused, self.error = refused, error
        self.freed: list[str] = []

    async def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        yield Page(self.found, "1")

    async def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        yield Page([], "1")

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        if raw["metadata"]["name"] == self.refused:
            raise self.error
        self.freed.append(raw["metadata"]["name"])


def farewell(
    objects: Objects,
    given_up: list[Object],
    writer: Writer | None = None,
    *,
    discard: bool = False,
    **more: Any,
) -> ReleasePass:
    return ReleasePass(
        objects,
        writer,
        **{
            "cluster": "test",
            "namespaces": (None,),
            "discard": discard,
            "on_lost": given_up.append,
            "settings": DecisionSettings(recording=True, record_deadline_s=86_400),
            "clock": LoopClock(),
            **more,
        },
    )


def being_deleted(objects: Objects, *names: str) -> Objects:
    for raw in objects.found:
        if raw["metadata"]["name"] in names:
            raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return objects


async def test_what_was_given_up_is_handed_over_though_the_api_server_fails_midway() -> None:
    objects = Objects(["a", "b", "c"], "b", UnavailableError("no answer"))
    being_deleted(objects, "a", "b", "c")
    given_up: list[Object] = []
    with pytest.raises(UnavailableError):
        await farewell(objects, given_up, discard=True).run()
    assert objects.freed == ["a", "c"]
    assert {record["name"] for record in given_up} >= {"a", "c"}


async def test_a_record_is_counted_as_lost_only_when_its_job_has_been_let_go() -> None:
    objects = Objects(["a", "b"], "b", ConflictError("it has changed"))
    being_deleted(objects, "a", "b")
    account = await farewell(objects, [], discard=True).run()
    assert (account.lost, account.released, account.held) == (1, 1, ["ml/b: it has changed"])


async def test_a_job_that_may_not_be_let_go_holds_no_other() -> None:
    objects = Objects(["a", "b", "c"], "b", InvalidError("the uid is another one"))
    account = await farewell(objects, []).run()
    assert (account.released, account.held) == (2, ["ml/b: the uid is another one"])


async def test_what_is_in_a_namespace_that_is_still_served_stays_as_it_is() -> None:
    objects = Objects(["a", "b"], "", UnavailableError("never"))
    objects.found[0]["metadata"]["namespace"] = "served"
    account = await farewell(objects, [], spared=["served"]).run()
    assert (account.released, objects.freed) == (1, ["b"])


class HasAnotherFirst:
    """A receiver that has other content under the first revision of everything."""

    def __init__(self) -> None:
        self.rows: list[Object] = []

    async def write(self, record: Object) -> None:
        if record["revision"] == 1:
            raise RecordConflictError("HTTP 409: this revision is stored with other content")
        self.rows.append(record)


async def test_a_receiver_that_knows_another_first_revision_is_given_a_second_one() -> None:
    objects, receiver = Objects(["a"], "", UnavailableError("")), HasAnotherFirst()
    account = await farewell(objects, [], receiver).run()
    assert [(row["name"], row["revision"]) for row in receiver.rows] == [("a", 2)]
    assert (account.stored, account.released, account.held) == (1, 1, [])


class Policies(Objects):
    """No jobs, and a policy in each namespace that kopf's finalizer holds."""

    def __init__(self) -> None:
        super().__init__([], "", UnavailableError("never"))

    async def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        held = {"namespace": namespace, "name": "default", "finalizers": [FINALIZER_RETENTION]}
        yield Page([{"kind": "RetentionPolicy", "metadata": held}], "1")

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        self.freed.append(f"{raw['metadata']['namespace']} {finalizer}")


async def test_the_default_policy_is_freed_though_its_namespace_has_no_jobs_of_ours() -> None:
    objects = Policies()
    await farewell(objects, [], namespaces=("ml",), policies_only=("ops",)).run()
    assert objects.freed == [f"ml {FINALIZER_RETENTION}", f"ops {FINALIZER_RETENTION}"]


# --- what cannot be stored ----------------------------------------------------------------------


class Refusing:
    """A receiver that refuses for so many seconds, and then takes everything."""

    def __init__(self, until_s: float, error: RecordError | None = None) -> None:
        self.until_s, self.tries = until_s, 0
        self.error = error or EndpointUnavailableError("cannot be reached")
        self.names: list[str] = []

    async def write(self, record: Object) -> None:
        self.tries += 1
        if asyncio.get_running_loop().time() < self.until_s:
            raise self.error
        self.names.append(record["name"])


def of(account: ReleaseReport) -> tuple[int, int, int, int]:
    return (account.released, account.stored, account.waiting, account.lost)


@in_simulated_time
async def test_an_endpoint_that_refuses_connections_is_tried_for_a_minute() -> None:
    objects, endpoint = Objects(["a"], "", UnavailableError("")), Refusing(55.0)
    account = await farewell(objects, [], endpoint).run()
    assert (of(account), endpoint.names) == ((1, 1, 0, 0), ["a"])
    assert endpoint.tries < 30, "it backs off"


@in_simulated_time
async def test_the_minute_begins_anew_with_each_record_that_is_stored() -> None:
    class Slow(Refusing):
        async def write(self, record: Object) -> None:
            await asyncio.sleep(9)
            await super().write(record)

    names = [f"job-{number}" for number in range(80)]
    objects, endpoint = Objects(names, "", UnavailableError("")), Slow(0)
    account = await farewell(objects, [], endpoint).run()
    assert of(account) == (80, 80, 0, 0)


@in_simulated_time
async def test_what_cannot_be_stored_is_not_given_up_while_its_job_stays() -> None:
    objects, lost = Objects(["a", "b"], "", UnavailableError("")), list[Object]()
    account = await farewell(objects, lost, Refusing(900.0), discard=True).run()
    assert (of(account), account.held, lost) == ((2, 0, 2, 0), [], [])
    assert 60 <= asyncio.get_running_loop().time() < 75


@in_simulated_time
async def test_a_job_that_is_being_deleted_is_held_until_its_record_is_stored_or_discarded() -> (
    None
):
    objects, lost = Objects(["a", "b"], "", UnavailableError("")), list[Object]()
    being_deleted(objects, "b")
    account = await farewell(objects, lost, Refusing(900.0)).run()
    assert (of(account), lost) == ((1, 0, 1, 0), [])
    assert account.held == ["ml/b: its record is not stored"]
    account = await farewell(objects, lost, Refusing(900.0), discard=True).run()
    assert (of(account), account.held) == ((2, 0, 1, 1), [])
    assert [(record["name"], "spec" in record) for record in lost] == [("b", True)]


@in_simulated_time
async def test_a_deletion_is_honoured_as_the_operator_does_if_the_record_is_rejected_or_overdue() -> (
    None
):
    objects, lost = Objects(["a"], "", UnavailableError("")), list[Object]()
    being_deleted(objects, "a")
    rejects = Refusing(900.0, RecordRejectedError("HTTP 422"))
    account = await farewell(objects, lost, rejects).run()
    assert (of(account), rejects.tries, len(lost)) == ((1, 0, 0, 1), 1, 1)
    await asyncio.sleep(86_400)
    account = await farewell(objects, lost, Refusing(1e9)).run()
    assert (of(account), len(lost)) == ((1, 0, 0, 1), 2)


@in_simulated_time
async def test_where_the_jobs_go_too_none_is_freed_whose_record_is_not_stored() -> None:
    objects, lost = Objects(["a"], "", UnavailableError("")), list[Object]()
    account = await farewell(objects, lost, Refusing(900.0), jobs_go_too=True).run()
    assert (of(account), len(account.held)) == ((0, 0, 0, 0), 1)
    account = await farewell(objects, lost, None, jobs_go_too=True, discard=True).run()
    assert (of(account), [record["name"] for record in lost]) == ((1, 0, 0, 1), ["a"])


@in_simulated_time
async def test_a_job_that_is_deleted_while_it_runs_leaves_the_record_of_a_cancelled_one() -> None:
    class Keeping(Refusing):
        async def write(self, record: Object) -> None:
            await super().write(record)
            self.names[-1] += f" {record['phase']} {record['reason']}"

    objects, endpoint = Objects(["a"], "", UnavailableError("")), Keeping(0)
    being_deleted(objects, "a")
    objects.found[0]["status"] = {"phase": "Running", "attempt": 0, "launchedAttempt": 0}
    account = await farewell(objects, [], endpoint).run()
    assert (of(account), endpoint.names) == ((1, 1, 0, 0), ["a Cancelled Deleted"])


@in_simulated_time
async def test_a_record_that_its_user_gave_up_is_not_tried() -> None:
    objects, endpoint = Objects(["a"], "", UnavailableError("")), Refusing(0)
    being_deleted(objects, "a")
    objects.found[0]["metadata"]["annotations"] = {"trainingjob.dev/discard-record": "true"}
    assert of(await farewell(objects, [], endpoint).run()) == (1, 0, 0, 0)
    assert endpoint.tries == 0


@in_simulated_time
async def test_a_second_run_stores_what_the_first_has_left_in_status() -> None:
    objects, endpoint = Objects(["a"], "", UnavailableError("")), Refusing(0)
    objects.found[0]["metadata"]["finalizers"] = []
    account = await farewell(objects, [], endpoint).run()
    assert (of(account), endpoint.names, objects.freed) == ((0, 1, 0, 0), ["a"], [])
