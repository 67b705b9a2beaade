"""Jobs and policies in kubectl on a real API server: columns, field selectors and explain."""

import asyncio
from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.real.real_cluster import Kubectl
from tests.support.specs import make_policy
from trainingjob_sandbox.client import Listed

pytestmark = pytest.mark.real_only

JOB_COLUMNS = ["NAME", "PHASE", "NODES", "READY", "RESTARTS", "RECORD", "COMPLETED", "AGE"]
POLICY_COLUMNS = ["NAME", "TTL", "LAST", "JOBS", "FILES", "FREED", "ERRORS", "NEXT"]
RUNNING: dict[str, Any] = {"phase": "Running", "ready": 2, "restarts": 1, "attempt": 1}
STORED: dict[str, Any] = {
    "phase": "Failed",
    "recordState": "Stored",
    "restarts": 3,
    "attempt": 3,
    "completionTime": "2026-01-01T00:00:00Z",
    "conditions": [
        {
            "type": "Finished",
            "status": "True",
            "reason": "BackoffLimitExceeded",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}
RECORDED: dict[str, Any] = {"phase": "Succeeded", "recordState": "Stored"}


@pytest.fixture
async def jobs(api: Api) -> Api:
    """Create three jobs in different states, without an operator."""
    states = {"runs": RUNNING, "failed": STORED, "done": RECORDED}
    for name, status in states.items():
        await api.apply(make_job(name, nodes=2, framework="Torch", managedBy="example.com/test"))
        await api.patch_job_status(name, status)
    return api


def columns(printed: str) -> list[str]:
    return printed.splitlines()[0].split()


def row(printed: str, name: str) -> dict[str, str]:
    """Return the values of the columns in the row of this name."""
    heading, *lines = printed.splitlines()
    [line] = [line for line in lines if line.split()[0].rpartition("/")[2] == name]
    starts = [heading.index(word) for word in heading.split()]
    ends = [*starts[1:], max(len(line), len(heading)) + 1]
    return {
        heading[start:end].strip(): line[start:end].strip()
        for start, end in zip(starts, ends, strict=True)
    }


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("status.phase=Running", ["runs"]),
        ("status.phase!=Running", ["done", "failed"]),
        ("status.recordState=Stored", ["done", "failed"]),
        ("status.phase=Failed,status.recordState=Stored", ["failed"]),
        ("status.phase=Running,status.recordState=Stored", []),
        ("metadata.name=done", ["done"]),
    ],
)
async def test_jobs_can_be_selected_by_status_fields(
    jobs: Api, kubectl: Kubectl, selector: str, names: list[str]
) -> None:
    found = kubectl("get", "tj", "--field-selector", selector, "-o", "name")

    assert [line.rpartition("/")[2] for line in found.splitlines()] == names


async def test_unsupported_field_selectors_are_rejected(api: Api, kubectl: Kubectl) -> None:
    said = kubectl.refusal("get", "tj", "--field-selector", "spec.numNodes=1")

    assert "field label not supported: spec.numNodes" in said


async def test_a_watch_with_a_field_selector_shows_jobs_that_enter_and_leave_it(jobs: Api) -> None:
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{jobs.namespace}/trainingjobs"
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        async for news in jobs.client.watch(path, field_selector="status.recordState=Pending"):
            if isinstance(news, Listed):
                assert news.items == []
            else:
                seen.append((news.type, news.object["metadata"]["name"]))
            if len(seen) == 2:
                break
            state = "Stored" if seen else "Pending"
            await jobs.patch_job_status("runs", {"recordState": state})

    assert seen == [("ADDED", "runs"), ("DELETED", "runs")]


async def test_the_columns_show_the_state_of_a_job(jobs: Api, kubectl: Kubectl) -> None:
    printed = kubectl("get", "trainingjobs")

    assert columns(printed) == JOB_COLUMNS
    runs = row(printed, "runs")
    assert (runs["PHASE"], runs["NODES"], runs["READY"], runs["RESTARTS"]) == (
        "Running", "2", "2", "1",
    )  # fmt: skip
    assert (runs["RECORD"], runs["COMPLETED"]) == ("", "")
    failed = row(printed, "failed")
    assert (failed["PHASE"], failed["RECORD"]) == ("Failed", "Stored")
    assert failed["COMPLETED"].endswith("d")  # an age, in days


async def test_the_wide_columns_show_the_reason(jobs: Api, kubectl: Kubectl) -> None:
    printed = kubectl("get", "tj", "-o", "wide")

    assert columns(printed)[-4:] == ["FRAMEWORK", "ATTEMPT", "REASON", "AGE"]
    failed = row(printed, "failed")
    assert (failed["FRAMEWORK"], failed["ATTEMPT"], failed["REASON"]) == (
        "Torch", "3", "BackoffLimitExceeded",
    )  # fmt: skip


async def test_short_names_and_the_category_work_for_both_kinds(
    jobs: Api, kubectl: Kubectl
) -> None:
    policy = make_policy(ttlSecondsAfterFinished=60)
    policy["metadata"]["namespace"] = jobs.namespace
    kubectl("apply", "-f", "-", stdin=policy)
    # The column shows what holds, wherever it comes from; the operator writes it down.
    status = '{"status":{"ttlSecondsAfterFinished":60}}'
    kubectl("patch", "rp", "default", "--subresource=status", "--type=merge", "-p", status)

    assert kubectl("get", "tj", "runs", "-o", "name") == "trainingjob.trainingjob.dev/runs"
    printed = kubectl("get", "rp")
    assert columns(printed) == POLICY_COLUMNS
    assert printed.splitlines()[1].split() == ["default", "60"]
    everything = kubectl("get", "training", "-o", "name").splitlines()
    assert sorted(everything) == [
        "retentionpolicy.trainingjob.dev/default",
        *(f"trainingjob.trainingjob.dev/{name}" for name in ("done", "failed", "runs")),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "tj.spec",
            [
                "numNodes\t<integer>",
                "Number of nodes (ranks) of the job",
                "template\t<Object> -required-",
            ],
        ),
        ("tj.spec.template.spec.containers", ["image\t<string>", "Entrypoint array"]),
        ("tj.spec.template.spec.containers.env.valueFrom", ["secretKeyRef\t<Object>"]),
        ("tj.spec.podFailurePolicy.rules", ["action\t<string> -required-", "FailJob"]),
        ("tj.status.conditions", ["lastTransitionTime\t<string> -required-"]),
        ("rp.spec", ["ttlSecondsAfterFinished\t<integer>", "byOutcome\t<Object>"]),
        ("rp.spec.byOutcome", ["complete\t<integer>", "cancelled\t<integer>"]),
    ],
)
async def test_explain_describes_a_field(
    api: Api, kubectl: Kubectl, path: str, expected: list[str]
) -> None:
    said = kubectl("explain", path)

    assert [words for words in expected if words not in said] == []
