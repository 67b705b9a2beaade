"""The details of one job, and the actions on it."""

from typing import Any

from tests.integration.console.conftest import listed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest


async def act(console: ConsoleUnderTest, action: str, *rows: Any, dry_run: bool = False) -> Any:
    """Send an action; return its results."""
    body = {"action": action, "jobs": list(rows), "dryRun": dry_run}
    answer = await console.post("/api/actions", body)
    assert answer.status == 200, answer
    return answer.json["results"]


async def test_a_job_is_shown_with_its_ranks_events_and_conditions(
    api: Api, console: ConsoleUnderTest
) -> None:
    job = await api.apply(make_job("mnist", nodes=2))
    uid = job["metadata"]["uid"]
    for rank, phase in enumerate(("Running", "Failed")):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"mnist-{rank}",
                "labels": {
                    "trainingjob.dev/job-uid": uid,
                    "trainingjob.dev/attempt": "1",
                    "trainingjob.dev/index": str(rank),
                },
            },
            "spec": {"containers": [{"name": "trainer", "image": "example/mnist:1"}]},
        }
        path = f"/api/v1/namespaces/{api.namespace}/pods"
        made = await api.client.create(path, pod)
        if phase == "Running":
            await api.start_pod(made)
        else:
            await api.finish_pod(made, 3)
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "mnist.1"},
        "involvedObject": {
            "kind": "TrainingJob",
            "name": "mnist",
            "namespace": api.namespace,
            "uid": uid,
        },
        "reason": "Restarting",
        "message": "rank 1 failed",
        "type": "Warning",
        "count": 2,
        "lastTimestamp": "2026-01-31T12:00:00Z",
    }
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/events", event)
    condition = {
        "type": "PodsReady",
        "status": "False",
        "reason": "PodsNotReady",
        "message": "1 of 2 ranks run",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "observedGeneration": 1,
    }
    await api.patch_job_status(
        "mnist", {"phase": "Running", "attempt": 1, "conditions": [condition]}
    )
    await listed(console, lambda answer: "Running" in answer["counts"])
    found = (await console.get(f"/api/jobs/{uid}")).json
    assert found["row"]["uid"] == uid
    assert found["row"]["waiting"] == "1 of 2 ranks run"
    assert [(r["rank"], r["state"], r["exitCode"]) for r in found["ranks"]] == [
        (0, "Running", None),
        (1, "Failed", 3),
    ]
    assert found["events"][0] | {"object": ""} == {
        "time": "2026-01-31T12:00:00Z",
        "type": "Warning",
        "reason": "Restarting",
        "message": "rank 1 failed",
        "object": "",
        "count": 2,
    }
    assert found["events"][0]["object"] == "TrainingJob/mnist"
    assert found["conditions"][0]["type"] == "PodsReady"
    assert [each["attempt"] for each in found["attempts"]] == [1]
    assert found["manifest"].startswith(
        "apiVersion: trainingjob.dev/v1alpha1\nkind: TrainingJob\n"
    )
    assert "managedFields" not in found["manifest"]
    assert found["rights"] == {"patch": True, "delete": True, "create": True, "logs": True}
    assert (found["files"], found["record"]) == (None, None)
    for nothing in ("no-such-job", "x" * 100, "a%2Fb"):
        refusal = await console.get(f"/api/jobs/{nothing}")
        assert (refusal.status, refusal.json["error"]["reason"]) == (404, "NotFound")


async def test_actions_have_a_preview_and_then_change_only_the_job_with_that_uid(
    api: Api, console: ConsoleUnderTest
) -> None:
    await api.apply(make_job("held"))
    await api.apply(make_job("stopped"))
    both = await listed(console, lambda answer: answer["total"] == 2)
    rows = {row["name"]: row for row in both["items"]}
    [said] = await act(console, "suspend", rows["held"], dry_run=True)
    assert (said["ok"], said["message"]) == (True, "It starts no pods until resumed.")
    assert (await api.job("held"))["spec"]["suspend"] is False
    assert [each["ok"] for each in await act(console, "suspend", rows["held"])] == [True]
    assert (await api.job("held"))["spec"]["suspend"] is True
    await act(console, "resume", rows["held"])
    assert (await api.job("held"))["spec"]["suspend"] is False
    other = rows["held"] | {"uid": "00000000-0000-0000-0000-000000000000"}
    for action in ("suspend", "stop", "delete", "run-again"):
        replaced, stopped = await act(console, action, other, rows["stopped"], dry_run=True)
        assert not replaced["ok"], action
        assert "another job now has this name" in replaced["message"], (action, replaced)
        assert stopped["ok"], (action, stopped)
    assert (await api.job("held"))["spec"]["suspend"] is False
    await act(console, "terminate", rows["stopped"])
    assert (await api.job("stopped"))["spec"]["shutdown"] == "Terminate"
    [again] = await act(console, "run-again", rows["stopped"])
    new = await api.job(again["name"])
    assert "shutdown" not in new["spec"]
    assert new["spec"]["template"] == (await api.job("stopped"))["spec"]["template"]
    assert [each["ok"] for each in await act(console, "delete", rows["held"])] == [True]
    await api.wait_until_gone("held")
    [gone] = await act(console, "delete", rows["held"])
    assert (gone["ok"], gone["message"]) == (False, "it no longer exists")


async def test_an_unknown_action_is_rejected_with_a_message(console: ConsoleUnderTest) -> None:
    job = {"namespace": "a", "name": "b", "uid": "c"}
    wrong: list[tuple[str, Any]] = [
        ("action", {"action": "explode", "jobs": [job]}),
        ("jobs", {"action": "stop", "jobs": []}),
        ("jobs", {"action": "stop", "jobs": [job] * 101}),
        ("jobs", {"action": "stop", "jobs": [job | {"name": "../b"}]}),
        ("dryRun", {"action": "stop", "jobs": [job], "dryRun": "yes"}),
        ("object", [1]),
    ]
    for word, body in wrong:
        answer = await console.post("/api/actions", body)
        assert (answer.status, answer.json["error"]["reason"]) == (400, "BadRequest"), body
        assert word in answer.json["error"]["message"], body
    large = await console.post("/api/actions", {"action": "x" * 70_000})
    assert large.status == 413
