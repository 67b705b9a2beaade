"""Objects that the API server rejects, and the messages that users read."""

import copy
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.real.real_cluster import Kubectl
from tests.support.specs import CASES, Case, make_policy
from trainingjob_sandbox.client import ApiError

pytestmark = pytest.mark.real_only

Object = dict[str, Any]

RESERVED = (
    "spec.template.spec.containers[0].env[0].name: Forbidden: remove this variable: the operator "
    "sets it for each rank (reserved are RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, TF_CONFIG and "
    "those of torchrun (PET_*), JAX, XGBoost (DMLC_*) and TrainingJob that ranks receive)"
)
JOB_NAME = (
    "metadata.name: Invalid value: metadata.name must start with a lower-case letter, end with a "
    "letter or digit, and hold only lower-case letters, digits and '-', at most 63 characters"
)
LIMIT = (
    "spec.numNodes: Invalid value: {0}: spec.numNodes in body should be {1} than or equal to {2}"
)
FROZEN = (
    "spec.{0}: Forbidden: {0} can change only while the job is suspended and none of its pods is "
    "left: set suspend to true and wait for the condition Suspended, or create a new job"
)
MANAGED_BY = (
    "spec.managedBy: Forbidden: managedBy cannot be changed after creation: "
    "create a new job instead"
)
NOT_WEAKENED = (
    "spec.shutdown: Forbidden: shutdown cannot go back from Terminate to Stop: leave it, or remove "
    "it"
)
POLICY_NAME = (
    "metadata.name: Invalid value: metadata.name must be default: a namespace has one retention "
    "policy"
)

REFUSED_AT_ONCE: dict[str, tuple[Object, str]] = {
    "a variable that ranks receive": (make_job(env={"RANK": "1"}), RESERVED),
    "a variable of torchrun": (make_job(env={"PET_NNODES": "1"}), RESERVED),
    "a name of 64 characters": (make_job("a" * 64), JOB_NAME),
    "a name with a dot": (make_job("a.b"), JOB_NAME),
    "a name that starts with a digit": (make_job("1st"), JOB_NAME),
    "no node": (make_job(nodes=0), LIMIT.format(0, "greater", 1)),
    "too many nodes": (make_job(nodes=1001), LIMIT.format(1001, "less", 1000)),
    "a second retention policy": (make_policy("mine"), POLICY_NAME),
}

REFUSED_LATER: dict[str, tuple[Object, Object, str]] = {
    "another template": (
        make_job(),
        make_job(image="example/mnist:2.0"),
        FROZEN.format("template"),
    ),
    "another number of nodes": (make_job(), make_job(nodes=2), FROZEN.format("numNodes")),
    "another framework": (make_job(), make_job(framework="JAX"), FROZEN.format("framework")),
    "a suspended job that has not said so yet": (
        make_job(suspend=True),
        make_job(suspend=True, nodes=2),
        FROZEN.format("numNodes"),
    ),
    "managedBy, later": (make_job(), make_job(managedBy="example.com/mine"), MANAGED_BY),
    "managedBy, changed": (
        make_job(managedBy="example.com/mine"),
        make_job(managedBy="example.com/yours"),
        MANAGED_BY,
    ),
    "managedBy, of a suspended job": (
        make_job(suspend=True),
        make_job(suspend=True, managedBy="example.com/mine"),
        MANAGED_BY,
    ),
    "a shutdown that is weakened": (
        make_job(shutdown="Terminate"),
        make_job(shutdown="Stop"),
        NOT_WEAKENED,
    ),
}


def into(namespace: str, manifest: Object) -> Object:
    moved = copy.deepcopy(manifest)
    moved["metadata"]["namespace"] = namespace
    return moved


def sentence(manifest: Object, cause: str) -> str:
    return f'The {manifest["kind"]} "{manifest["metadata"]["name"]}" is invalid: {cause}'


@pytest.mark.parametrize(("manifest", "cause"), REFUSED_AT_ONCE.values(), ids=[*REFUSED_AT_ONCE])
async def test_apply_shows_the_error_of_an_invalid_object(
    api: Api, kubectl: Kubectl, manifest: Object, cause: str
) -> None:
    said = kubectl.refusal("apply", "-f", "-", stdin=into(api.namespace, manifest))

    assert said == sentence(manifest, cause)


@pytest.mark.parametrize(("old", "new", "cause"), REFUSED_LATER.values(), ids=[*REFUSED_LATER])
async def test_apply_names_immutable_fields(
    api: Api, kubectl: Kubectl, old: Object, new: Object, cause: str
) -> None:
    kubectl("apply", "-f", "-", stdin=into(api.namespace, old))

    said = kubectl.refusal("apply", "-f", "-", stdin=into(api.namespace, new))

    assert said == sentence(new, cause)


async def test_all_errors_of_an_object_are_shown_at_once(api: Api, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=into(api.namespace, make_job()))

    said = kubectl.refusal(
        "apply", "-f", "-", stdin=into(api.namespace, make_job(nodes=2, framework="Torch"))
    )

    assert said.splitlines() == [
        'The TrainingJob "mnist" is invalid: ',
        f"* {FROZEN.format('numNodes')}",
        f"* {FROZEN.format('framework')}",
    ]


async def test_a_shutdown_can_be_strengthened_and_removed(api: Api, kubectl: Kubectl) -> None:
    for job in (make_job(shutdown="Stop"), make_job(shutdown="Terminate"), make_job()):
        kubectl("apply", "-f", "-", stdin=into(api.namespace, job))

    assert "shutdown" not in (await api.job("mnist"))["spec"]


async def test_every_case_of_the_table_has_the_expected_result(api: Api) -> None:
    """The table is also the reference for the sandbox's validation, so it must match a real server."""
    wrong = [told for case in CASES if (told := await mismatch(api, case))]

    assert not wrong, "\n".join(wrong)


async def mismatch(api: Api, case: Case) -> str:
    """Return how the server's result differs from the table; empty if it does not."""
    new = into(api.namespace, case.new)
    plural = "retentionpolicies" if new["kind"] == "RetentionPolicy" else "trainingjobs"
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/{plural}"
    one = f"{path}/{new['metadata']['name']}"
    try:
        if case.old is None:
            await api.client.create(path, new)
        else:
            old = await api.client.create(path, into(api.namespace, case.old))
            if status := case.old.get("status"):
                old = await api.client.patch(f"{one}/status", {"status": status})
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            await api.client._call("PUT", one, body=new)
    except ApiError as error:
        said = error.message
    else:
        said = ""
    if case.old is not None or not said:
        await api.client.delete(one)
    as_told = case.refusal in said if case.refusal else not said
    return "" if as_told else f"{case.id}: {said or 'was taken'}, not {case.refusal or 'taken'!r}"
