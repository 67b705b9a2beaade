"""`/api/jobs` with a real API server: existing jobs are listed, and changes arrive."""

from tests.integration.console.conftest import listed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest


async def test_created_changed_and_deleted_jobs_are_listed_correctly(
    api: Api, console: ConsoleUnderTest
) -> None:
    empty = await listed(console, lambda _: True)
    assert (empty["items"], empty["total"], empty["next"]) == ([], 0, None)
    await api.apply(make_job("first", nodes=2))
    await api.apply(make_job("second", suspend=True))
    both = await listed(console, lambda answer: answer["total"] == 2)
    assert {row["name"] for row in both["items"]} == {"first", "second"}
    assert both["counts"] == {"Pending": 2}
    assert both["namespaces"] == [api.namespace]
    [row] = [row for row in both["items"] if row["name"] == "first"]
    assert row["ranks"]["total"] == 2
    assert row["waiting"] == "the operator has not seen it yet"
    assert row["source"] == "live"
    await api.patch_job_status("first", {"phase": "Running", "ready": 1, "active": 2})
    running = await listed(console, lambda answer: "Running" in answer["counts"])
    assert running["counts"] == {"Pending": 1, "Running": 1}
    assert running["position"] != both["position"]
    only = await listed(console, lambda _: True, "?phase=Running")
    assert [row["name"] for row in only["items"]] == ["first"]
    assert only["total"] == 1
    await api.delete_job("second")
    await listed(console, lambda answer: answer["total"] == 1)


async def test_an_invalid_query_is_rejected_with_a_message(console: ConsoleUnderTest) -> None:
    for query in ("sort=size", "limit=0", "limit=201", "cursor=x", "label=a", "page=2", "since=x"):
        answer = await console.get(f"/api/jobs?{query}")
        assert (answer.status, answer.json["error"]["reason"]) == (400, "BadRequest"), query
        assert query.partition("=")[0] in answer.json["error"]["message"], answer
