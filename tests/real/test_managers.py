"""Field managers recorded by the API server, and server-side apply of jobs."""

import pytest

from tests.support.apiserver.api import Api, condition
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import OperatorProcess
from tests.support.real.real_cluster import Kubectl

pytestmark = pytest.mark.real_only


async def test_after_server_side_apply_the_user_keeps_the_fields_of_the_spec(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    job = unscheduled(make_job("declared", nodes=2))
    del job["metadata"]["namespace"]
    apply = ("apply", "--server-side", "--field-manager=gitops", "-f", "-")
    kubectl(*apply, stdin=job)
    for pod in await api.wait_for_pods("declared", 2):
        await api.start_pod(pod)
    await api.wait_for_phase("declared", "Running")
    before = (await api.job("declared"))["metadata"]

    kubectl(*apply, stdin=job)  # as a GitOps tool does, every few minutes

    after = (await api.job("declared"))["metadata"]
    assert after["generation"] == before["generation"] == 1
    owners = {
        entry["manager"]: (entry.get("subresource", ""), set(entry["fieldsV1"]))
        for entry in after["managedFields"]
    }
    assert owners["gitops"] == ("", {"f:spec"})
    assert owners["trainingjob-operator"] == ("status", {"f:status"})


@pytest.mark.parametrize(
    ("words", "manager"),
    [
        (("apply", "-f", "-"), "kubectl-client-side-apply"),
        (("apply", "--server-side", "--field-manager=gitops", "-f", "-"), "gitops"),
        (("replace", "--field-manager=portal", "-f", "-"), "portal"),
    ],
)
async def test_the_field_manager_shows_who_shut_a_job_down(
    operator: OperatorProcess, api: Api, kubectl: Kubectl, words: tuple[str, ...], manager: str
) -> None:
    job = unscheduled(make_job("stopped"))
    del job["metadata"]["namespace"]
    create = ("create", "-f", "-") if words[0] == "replace" else words
    kubectl(*create, stdin=job)
    [pod] = await api.wait_for_pods("stopped", 1)
    await api.start_pod(pod)
    await api.wait_for_phase("stopped", "Running")

    job["spec"]["shutdown"] = "Stop"
    kubectl(*words, stdin=job)

    status = await api.wait_for_phase("stopped", "Cancelled")
    assert status["shutdown"]["requestedBy"] == manager
    assert status["shutdown"]["mode"] == "Stop"
    assert condition(status, "Finished")["reason"] == "Stopped"


async def test_the_user_of_a_shutdown_patch_stays_known_after_the_field_is_removed(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    await api.apply(unscheduled(make_job("patched")))
    await api.wait_for_pods("patched", 1)
    patch = ("patch", "tj", "patched", "--type=merge", "-p")

    kubectl(*patch, '{"spec": {"shutdown": "Terminate"}}')
    await api.wait_for_phase("patched", "Cancelled")
    kubectl(*patch, '{"spec": {"shutdown": null}}')

    status = (await api.job("patched"))["status"]
    assert status["shutdown"]["requestedBy"] == "kubectl-patch"
    assert status["phase"] == "Cancelled"


async def test_kubectl_wait_returns_when_a_job_finishes(
    operator: OperatorProcess, api: Api, kubectl: Kubectl
) -> None:
    await api.apply(unscheduled(make_job("awaited")))
    [pod] = await api.wait_for_pods("awaited", 1)
    await api.start_pod(pod)
    await api.finish_pod(pod)

    kubectl("wait", "tj/awaited", "--for=condition=Finished", "--timeout=30s")
    kubectl("wait", "tj/awaited", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
