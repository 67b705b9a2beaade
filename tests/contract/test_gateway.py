"""The in-memory fake of the gateway and the real one, over HTTP, behave alike."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.clock import FakeClock
from tests.support.cluster.cluster import FakeCluster
from trainingjob_api.errors import (
    AlreadyExistsError,
    ConflictError,
    GoneError,
    InvalidError,
    KubernetesError,
)
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.manifests import template_of
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway

Object = dict[str, Any]


@dataclass
class Subject:
    """A cluster under test, and how a user of it applies a job."""

    cluster: Cluster
    namespace: str
    apply: Callable[[Object], Awaitable[Object]]

    def key(self, name: str) -> JobKey:
        return JobKey(self.namespace, name)

    def pod(self, name: str, job: str = "mnist") -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {"trainingjob.dev/job-name": job},
            },
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]},
        }

    async def pods(self, selector: str) -> list[str]:
        pages = self.cluster.list_pods(self.namespace, selector=selector)
        return sorted([pod["metadata"]["name"] async for page in pages for pod in page.items])


@pytest.fixture(params=["twin", "gateway"])
async def subject(request: pytest.FixtureRequest, api: Api) -> AsyncIterator[Subject]:
    if request.param == "twin":
        twin = FakeCluster(FakeClock())

        async def apply(job: Object) -> Object:
            return twin.create_job(job)

        yield Subject(twin, "ml", apply)
        return
    connection = await connect(str(api.server.kubeconfig))
    async with Gateway(connection, timeout_s=10) as gateway:
        yield Subject(gateway, api.namespace, api.apply)


async def test_a_missing_object_is_none(subject: Subject) -> None:
    assert await subject.cluster.get_job(subject.key("absent")) is None
    assert await subject.cluster.get_pod(subject.namespace, "absent") is None
    assert await subject.cluster.get_service(subject.namespace, "absent") is None


async def test_a_name_can_be_created_once(subject: Subject) -> None:
    created = await subject.cluster.create_pod(subject.pod("one"))
    with pytest.raises(AlreadyExistsError):
        await subject.cluster.create_pod(subject.pod("one"))
    found = await subject.cluster.get_pod(subject.namespace, "one")
    assert found is not None
    assert found["metadata"]["uid"] == created["metadata"]["uid"]


async def test_a_pod_is_deleted_only_with_the_same_uid(subject: Subject) -> None:
    created = await subject.cluster.create_pod(subject.pod("one"))
    with pytest.raises(ConflictError):
        await subject.cluster.delete_pod(subject.namespace, "one", uid="another")

    uid, version = created["metadata"]["uid"], created["metadata"]["resourceVersion"]
    with pytest.raises(ConflictError):
        await subject.cluster.delete_pod(subject.namespace, "one", uid=uid, version="1")
    assert await subject.cluster.get_pod(subject.namespace, "one") is not None
    await subject.cluster.delete_pod(subject.namespace, "one", uid=uid, version=version)
    assert await subject.cluster.get_pod(subject.namespace, "one") is None
    await subject.cluster.delete_pod(subject.namespace, "one", uid=uid)  # gone already: fine


async def test_the_log_of_a_deleted_pod_raises_a_specific_error(subject: Subject) -> None:
    with pytest.raises(GoneError):
        _ = [p async for p in subject.cluster.pod_log(subject.namespace, "absent", container="c")]


async def test_an_unknown_container_has_no_log(subject: Subject) -> None:
    await subject.cluster.create_pod(subject.pod("one"))
    with pytest.raises(InvalidError):
        _ = [p async for p in subject.cluster.pod_log(subject.namespace, "one", container="x")]


async def test_a_template_is_validated_by_dry_run_without_a_pod(subject: Subject) -> None:
    pod = subject.pod("one")
    pod["metadata"] |= {"annotations": {}}
    await subject.cluster.try_pod_template(template_of(pod))
    await subject.cluster.try_pod_template(template_of(pod))  # its name is not taken
    assert await subject.pods("trainingjob.dev/job-name=mnist") == []

    pod["spec"]["containers"] = []
    with pytest.raises(InvalidError, match=r"PodTemplate .* is invalid: .*template\.spec\.cont"):
        await subject.cluster.try_pod_template(template_of(pod))


async def test_an_unparsable_template_is_reported_as_such(api: Api) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": "one", "namespace": api.namespace},
        "template": {"spec": {"containers": "none"}},
    }
    connection = await connect(str(api.server.kubeconfig))
    async with Gateway(connection, timeout_s=10) as gateway:
        with pytest.raises(InvalidError, match="cannot be handled as a PodTemplate"):
            await gateway.try_pod_template(manifest)


async def test_lists_are_selected_by_label(subject: Subject) -> None:
    await subject.cluster.create_pod(subject.pod("one", job="a"))
    await subject.cluster.create_pod(subject.pod("two", job="b"))

    assert await subject.pods("trainingjob.dev/job-name") == ["one", "two"]
    assert await subject.pods("trainingjob.dev/job-name=b") == ["two"]


async def test_jobs_are_listed_with_the_version_of_the_list(subject: Subject) -> None:
    job = await subject.apply(make_job("listed"))
    [(names, version)] = [
        ([each["metadata"]["name"] for each in page.items], page.resource_version)
        async for page in subject.cluster.list_jobs(subject.namespace)
    ]
    assert names == ["listed"]
    assert int(version) >= int(job["metadata"]["resourceVersion"])


async def test_a_status_is_written_only_on_the_version_it_was_decided_on(
    subject: Subject,
) -> None:
    job = await subject.apply(make_job("written"))
    seen = {key: job["metadata"][key] for key in ("uid", "resourceVersion")}
    patch = {"metadata": seen, "status": {"phase": "Pending", "attempt": 0}}

    written = await subject.cluster.patch_job_status(subject.key("written"), patch)
    assert written is not None
    assert written["status"]["phase"] == "Pending"
    assert written["spec"] == job["spec"]
    with pytest.raises(ConflictError):
        await subject.cluster.patch_job_status(subject.key("written"), patch)
    assert await subject.cluster.patch_job_status(subject.key("absent"), patch) is None


async def test_a_null_removes_a_field_of_the_status(subject: Subject) -> None:
    job = await subject.apply(make_job("reset"))
    key = subject.key("reset")

    async def write(version: str, status: Object) -> Object:
        metadata = {"uid": job["metadata"]["uid"], "resourceVersion": version}
        answer = await subject.cluster.patch_job_status(
            key, {"metadata": metadata, "status": status}
        )
        assert answer is not None
        return answer

    first = await write(
        job["metadata"]["resourceVersion"],
        {"phase": "Pending", "startTime": "2026-01-01T00:00:00Z"},
    )
    second = await write(first["metadata"]["resourceVersion"], {"startTime": None})
    assert "startTime" not in second["status"]


FINALIZER = "trainingjob.dev/record"


async def test_the_record_finalizer_is_set_only_on_the_observed_version(subject: Subject) -> None:
    seen = job_view(await subject.apply(make_job("held")))
    cluster = subject.cluster

    claimed = await cluster.set_record_finalizer(seen, present=True)
    assert claimed is not None
    assert claimed["metadata"]["finalizers"] == [FINALIZER]
    with pytest.raises(ConflictError):
        await cluster.set_record_finalizer(seen, present=True)
    other = replace(job_view(claimed), uid="another")
    with pytest.raises(KubernetesError):
        await cluster.set_record_finalizer(other, present=False)

    released = await cluster.set_record_finalizer(job_view(claimed), present=False)
    assert released is not None
    assert not released["metadata"].get("finalizers")
    assert (
        await cluster.set_record_finalizer(replace(seen, key=subject.key("x")), present=True)
        is None
    )


@pytest.mark.parametrize("before", [[], ["orphan"]])  # which the garbage collector takes off
async def test_the_record_finalizer_is_added_and_removed_without_touching_others(
    subject: Subject, before: list[str]
) -> None:
    job = make_job("shared")
    job["metadata"]["finalizers"] = before
    seen = job_view(await subject.apply(job))
    claimed = await subject.cluster.set_record_finalizer(seen, present=True)
    assert claimed is not None
    assert claimed["metadata"]["finalizers"] == [*before, FINALIZER]
    moved = replace(job_view(claimed), record_finalizer_at=len(before) + 1)
    with pytest.raises(KubernetesError):
        await subject.cluster.set_record_finalizer(moved, present=False)
    released = await subject.cluster.set_record_finalizer(job_view(claimed), present=False)
    assert released is not None
    assert released["metadata"].get("finalizers", []) == before


async def test_jobs_are_found_by_the_state_of_their_record(subject: Subject) -> None:
    for name, state in (("a", "Pending"), ("b", "Stored"), ("c", "Pending"), ("d", "Pending")):
        job = await subject.apply(make_job(name))
        seen = {key: job["metadata"][key] for key in ("uid", "resourceVersion")}
        status = {"phase": "Succeeded", "recordState": state}
        await subject.cluster.patch_job_status(
            subject.key(name), {"metadata": seen, "status": status}
        )

    async def page(token: str) -> tuple[list[str], str]:
        found = await subject.cluster.jobs_by_record_state(
            subject.namespace, "Pending", limit=2, token=token
        )
        return [job["metadata"]["name"] for job in found.items], found.next_token

    first, token = await page("")
    assert (first, bool(token)) == (["a", "c"], True)
    assert await page(token) == (["d"], "")


async def test_a_job_is_deleted_only_in_the_observed_version(subject: Subject) -> None:
    seen = job_view(await subject.apply(make_job("over")))
    status = {"metadata": {"uid": seen.uid, "resourceVersion": seen.resource_version}}
    await subject.cluster.patch_job_status(seen.key, status | {"status": {"phase": "Pending"}})

    for stale in (seen, replace(seen, uid="another")):
        with pytest.raises(ConflictError):
            await subject.cluster.delete_finished_job(stale)
    now = await subject.cluster.get_job(seen.key)
    assert now is not None
    assert await subject.cluster.delete_finished_job(job_view(now))
    assert await subject.cluster.get_job(seen.key) is None
    assert not await subject.cluster.delete_finished_job(job_view(now))


async def test_a_policy_is_created_once_and_its_status_written_on_its_version(
    subject: Subject,
) -> None:
    cluster, namespace = subject.cluster, subject.namespace
    assert await cluster.get_policy(namespace) is None
    created = await cluster.create_policy(namespace)
    assert (created["metadata"]["name"], created["spec"]) == ("default", {})
    with pytest.raises(AlreadyExistsError):
        await cluster.create_policy(namespace)
    pages = cluster.list_policies(namespace)
    uids = [each["metadata"]["uid"] async for page in pages for each in page.items]
    assert uids == [created["metadata"]["uid"]]

    seen = {key: created["metadata"][key] for key in ("uid", "resourceVersion")}
    skipped = {"Kept": 2, "GitOps": 1}
    patch = {"metadata": seen, "status": {"jobsDeleted": 1, "skipped": skipped}}
    written = await cluster.patch_policy_status(namespace, patch)
    assert written is not None
    assert written["status"] == patch["status"]
    with pytest.raises(ConflictError):
        await cluster.patch_policy_status(namespace, patch)
    seen = {key: written["metadata"][key] for key in ("uid", "resourceVersion")}
    patch = {"metadata": seen, "status": {"skipped": {"Kept": None}}}
    written = await cluster.patch_policy_status(namespace, patch)
    assert written is not None
    assert written["status"]["skipped"] == {"GitOps": 1}
