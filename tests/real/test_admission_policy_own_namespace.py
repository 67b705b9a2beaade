"""The chart's admission policies in the operator's own namespace, on a real API server.

This namespace has the logs and records of all teams, and the Services of the release.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import Api
from tests.support.real.chart import render
from tests.support.real.real_cluster import kubectl as run_kubectl
from tests.support.real.users import (
    ALL_AT_ONCE,
    JOBS,
    NO_TOKEN,
    PODS,
    POLICY_KINDS,
    SETTLED,
    Object,
    Users,
    doubts_of,
    job_with,
    until_refused,
    with_container,
    with_volume,
)
from trainingjob_sandbox.client import ApiError

pytestmark = pytest.mark.real_only

RELEASE = "trainingjob-operator"


@pytest.fixture
def install(plane: ControlPlane, api: Api) -> Iterator[list[str]]:
    """Create the policies of an install in the test's namespace; yield their names."""
    values = {
        "logVolume": {"existingClaim": "logs"},
        "extraVolumes": [{"name": "more", "persistentVolumeClaim": {"claimName": "extra"}}],
    }
    objects = [
        each for each in render(values, namespace=api.namespace) if each["kind"] in POLICY_KINDS
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    run_kubectl(plane.kubeconfig, "apply", "-f", "-", stdin=listed)
    yield [each["metadata"]["name"] for each in objects if each["kind"] == POLICY_KINDS[0]]
    run_kubectl(plane.kubeconfig, "delete", "-f", "-", stdin=listed)


@pytest.fixture
async def users(install: list[str], plane: ControlPlane, api: Api) -> AsyncIterator[Users]:
    """Yield the factory of users, once both policies are enforced."""
    async with AsyncExitStack() as stack:
        made = Users(plane, api, stack)
        await until_refused(await made.add(JOBS), job_with(ALL_AT_ONCE))
        await until_refused(await made.add(JOBS, PODS), job_with_logs(f"{RELEASE}-records"))
        yield made


def clone(**source: Any) -> Object:
    claim = {"accessModes": ["ReadWriteOnce"], **source}
    return with_volume(ephemeral={"volumeClaimTemplate": {"spec": claim}})


OF_A_CLAIM = {"kind": "PersistentVolumeClaim", "name": "logs"}
OF_THE_INSTALL: dict[str, Object] = {
    "the log volume": with_volume(persistentVolumeClaim={"claimName": "logs"}),
    "the records": with_volume(
        persistentVolumeClaim={"claimName": "trainingjob-operator-records", "readOnly": True}
    ),
    "a claim that an uninstall has left": with_volume(
        persistentVolumeClaim={"claimName": "trainingjob-operator-logs"}
    ),
    "a claim of its pods that the values add": with_volume(
        persistentVolumeClaim={"claimName": "extra"}
    ),
    "a copy of the log volume": clone(dataSource=OF_A_CLAIM),
    "the same by the new field": clone(dataSourceRef=OF_A_CLAIM),
    "the volume that the operator adds": with_container(
        volumeMounts=[{"name": "trainingjob-dir", "mountPath": "/all"}]
    ),
}


def job_with_logs(claim: str) -> Object:
    """Return a job with its own directory on this claim."""
    job = job_with(NO_TOKEN)
    job["spec"]["logs"] = {"volume": True, "claimName": claim}
    return job


async def test_jobs_in_the_operators_namespace_cannot_mount_logs_or_records(
    users: Users, install: list[str]
) -> None:
    jobs_only, pods_too = await users.add(JOBS), await users.add(JOBS, PODS)
    for name, pod in OF_THE_INSTALL.items():
        said = await jobs_only.refusal(job_with(pod))
        assert "neither the operator's log volume nor its records" in said, f"{name}: {said}"
        assert f"'{install[0]}'" in said
        await pods_too.creates(job_with(pod))
    for pod in (NO_TOKEN, with_volume(persistentVolumeClaim={"claimName": "data"}), clone()):
        await jobs_only.creates(job_with(pod))
    await jobs_only.creates(job_with_logs("logs"))  # a directory of its own


LABELS_OF_THE_RELEASE = {
    "the record service": {
        "app.kubernetes.io/name": f"{RELEASE}-records",
        "app.kubernetes.io/instance": RELEASE,
    },
    "the operator": {
        "app.kubernetes.io/name": RELEASE,
        "app.kubernetes.io/instance": RELEASE,
        "other": "x",
    },
}
LABELS_OF_OTHERS = {
    "another release": {
        "app.kubernetes.io/name": f"{RELEASE}-records",
        "app.kubernetes.io/instance": "other",
    },
    "another program": {
        "app.kubernetes.io/name": "mnist",
        "app.kubernetes.io/instance": RELEASE,
    },
    "half of them": {"app.kubernetes.io/name": RELEASE},
}


def job_labelled(labels: dict[str, str]) -> Object:
    """Return a job whose pods have these labels."""
    job = job_with(NO_TOKEN)
    job["spec"]["template"]["metadata"] = {"labels": labels}
    return job


async def test_no_job_in_the_operators_namespace_can_have_labels_of_the_release(
    users: Users, api: Api
) -> None:
    """A pod that the record service's Service selects would be sent the records and their token."""
    pods_too = await users.add(JOBS, PODS)
    rendered = render(namespace=api.namespace)
    selected = [each["spec"]["selector"] for each in rendered if each["kind"] == "Service"]
    assert LABELS_OF_THE_RELEASE["the record service"] in selected
    for labels in (*LABELS_OF_THE_RELEASE.values(), *selected):
        assert "app.kubernetes.io/instance" in await pods_too.refusal(job_labelled(labels))
    for labels in LABELS_OF_OTHERS.values():
        await pods_too.creates(job_labelled(labels))

    await pods_too.creates(job_with(NO_TOKEN, "mine", suspend=True), dry_run=False)
    await api.patch_job_status("mine", SETTLED)
    template = {"metadata": {"labels": LABELS_OF_THE_RELEASE["the record service"]}}
    with pytest.raises(ApiError, match="give the pods of spec"):
        await pods_too.patches("mine", {"spec": {"template": template}})


async def test_spec_logs_cannot_name_a_claim_of_the_operators_release(
    users: Users, api: Api
) -> None:
    pods_too = await users.add(JOBS, PODS)
    for claim in (f"{RELEASE}-records", "extra"):
        assert "spec.logs.claimName" in await pods_too.refusal(job_with_logs(claim))
    await pods_too.creates(job_with_logs("logs"))

    await pods_too.creates(job_with(ALL_AT_ONCE, "mine", suspend=True), dry_run=False)
    await api.patch_job_status("mine", SETTLED)
    jobs_only = await users.add(JOBS)
    for claim in (f"{RELEASE}-records", "extra"):  # which changes nothing but this
        with pytest.raises(ApiError, match="name another claim in spec"):
            await jobs_only.patches(
                "mine", {"spec": {"logs": {"volume": True, "claimName": claim}}}
            )
    await jobs_only.patches("mine", {"spec": {"logs": {"volume": True, "claimName": "logs"}}})


async def test_the_policies_expressions_pass_type_checking(install: list[str], api: Api) -> None:
    assert len(install) == 2
    for name in install:
        assert await doubts_of(api, name) == []
