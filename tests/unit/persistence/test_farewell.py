"""The day the operator goes: what is given up is handed over, whatever happens next."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.builders import make_job
from trainingjob_operator.constants import FINALIZER_RECORD, FINALIZER_RETENTION
from trainingjob_operator.errors import (
    ConflictError,
    InvalidError,
    KubernetesError,
    RecordConflictError,
    UnavailableError,
)
from trainingjob_operator.kube.gateway import Page
from trainingjob_operator.persistence.farewell import Farewell

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


class Objects:
    """Jobs, of which one is refused."""

    def __init__(self, names: list[str], refused: str, error: KubernetesError) -> None:
        self.jobs = [finished_job(name) for name in names]
        self.refused, self.error = refused, error
        self.freed: list[str] = []

    async def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        yield Page(self.jobs, "1")

    async def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        yield Page([], "1")

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        if raw["metadata"]["name"] == self.refused:
            raise self.error
        self.freed.append(raw["metadata"]["name"])


def farewell(objects: Objects, given_up: list[Object]) -> Farewell:
    return Farewell(
        objects,
        None,
        cluster="test",
        namespaces=(None,),
        give_up=given_up.append,
        patience_s=60.0,
        clock=lambda: 0.0,
    )


async def test_what_was_given_up_is_handed_over_though_the_api_server_fails_midway() -> None:
    objects = Objects(["a", "b", "c"], "b", UnavailableError("no answer"))
    given_up: list[Object] = []
    with pytest.raises(UnavailableError):
        await farewell(objects, given_up).run()
    assert objects.freed == ["a", "c"]
    assert {record["name"] for record in given_up} >= {"a", "c"}


async def test_a_record_is_counted_as_lost_only_when_its_job_has_been_let_go() -> None:
    objects = Objects(["a", "b"], "b", ConflictError("it has changed"))
    account = await farewell(objects, []).run()
    assert (account.lost, account.released, account.held) == (1, 1, ["ml/b: it has changed"])


async def test_a_job_that_may_not_be_let_go_holds_no_other() -> None:
    objects = Objects(["a", "b", "c"], "b", InvalidError("the uid is another one"))
    account = await farewell(objects, []).run()
    assert (account.released, account.held) == (2, ["ml/b: the uid is another one"])


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
    account = await Farewell(
        objects,
        receiver,
        cluster="test",
        namespaces=(None,),
        give_up=None,
        patience_s=60.0,
        clock=lambda: 0.0,
    ).run()
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
    goodbye = Farewell(
        objects,
        None,
        cluster="test",
        namespaces=("ml",),
        give_up=None,
        patience_s=0,
        clock=lambda: 0.0,
        policies_too=("ops",),
    )
    await goodbye.run()
    assert objects.freed == [f"ml {FINALIZER_RETENTION}", f"ops {FINALIZER_RETENTION}"]
