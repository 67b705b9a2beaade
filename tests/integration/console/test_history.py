"""Deleted jobs from a real record service are listed after the existing ones, each job once."""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.console.conftest import listed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.records.records import make_record
from tests.support.records.service import Client, RecordServiceProcess
from trainingjob_console.jobs import history
from trainingjob_sandbox.apiserver.reviews import Account

FORGED = urlsafe_b64encode(json.dumps(["-created", 1, None, "AAAA", True]).encode()).decode()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordServiceProcess]:
    """Run a record service with its own database."""
    with RecordServiceProcess(tmp_path, f"sqlite:///{tmp_path / 'records.db'}") as service:
        yield service


def of_service(records: RecordServiceProcess) -> dict[str, Any]:
    """Return the settings of a console that shows the records of this cluster name."""
    return {
        "records_url": f"{records.url}/api/v1/jobs",
        "records_token_file": records.token_file,
        "cluster_name": make_record()["cluster"],
    }


async def all_pages(console: ConsoleUnderTest, query: str) -> list[Any]:
    """Return the responses from the first page to the last."""
    pages = []
    cursor = ""
    while True:
        answer = await console.get(f"/api/jobs{query}{cursor}")
        assert answer.status == 200, answer
        pages.append(answer.json)
        if answer.json["next"] is None:
            return pages
        cursor = f"&cursor={answer.json['next']}"


async def test_recorded_jobs_follow_existing_jobs_without_duplicates(
    api: Api, records: RecordServiceProcess
) -> None:
    await records.wait_until_ready()
    live = await api.apply(make_job("alive"))
    async with Client(records.url) as client:
        for number in range(5):
            uid = f"00000000-0000-4000-8000-{number:012d}"
            completed = f"2026-01-0{number + 1}T00:00:00Z"
            record = make_record(
                uid, namespace=api.namespace, name=f"old-{number}", completedAt=completed
            )
            assert (await client.put(record)).status == 200
        both = make_record(live["metadata"]["uid"], namespace=api.namespace, name="alive")
        assert (await client.put(both)).status == 200
        elsewhere = make_record("00000000-0000-4000-8000-00000000000a", namespace="elsewhere")
        assert (await client.put(elsewhere)).status == 200
    settings: dict[str, Any] = of_service(records) | {"namespaces": [api.namespace]}
    async with running_console(api.server, **settings) as console:
        await listed(console, lambda answer: answer["total"] == 1)
        seen: list[Any] = []
        query = f"?namespace={api.namespace}&limit=2"
        cursor = ""
        while True:
            page = (await console.get(f"/api/jobs{query}{cursor}")).json
            assert page["history"] == {"available": True, "message": None}
            assert (page["total"], page["totalIsPartial"]) == (1, True)
            seen += page["items"]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        names = [(row["name"], row["source"]) for row in seen]
        assert names == [("alive", "live"), *((f"old-{n}", "history") for n in (4, 3, 2, 1, 0))]
        detail = (await console.get(f"/api/jobs/{seen[1]['uid']}")).json
        assert detail["row"]["name"] == "old-4"
        assert detail["rights"]["patch"] is False
        assert detail["manifest"].startswith("spec:")
        only_live = (await console.get(f"/api/jobs{query}&phase=Pending")).json
        assert [row["name"] for row in only_live["items"]] == ["alive"]


async def test_existing_jobs_are_listed_without_the_record_service(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    await api.apply(make_job("alive"))
    async with running_console(api.server, records_url="http://127.0.0.1:1/jobs") as console:
        found = await listed(
            console, lambda answer: answer["total"] == 1, f"?namespace={api.namespace}"
        )
        assert [row["name"] for row in found["items"]] == ["alive"]
        assert found["history"]["available"] is False
        assert found["history"]["message"] == "the record service cannot be queried"
        for _ in range(3):
            assert (await console.get("/api/jobs")).status == 200
    # The address is for the log, once in an outage.
    [line] = [each for each in caplog.messages if "the record service cannot be queried" in each]
    assert "127.0.0.1" in line


@pytest.fixture(params=[(200, 60.0, {3, 1}), (4, 60.0, {3, 1}), (4, 0.0, {1, 0})])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the page sizes with this number of records per request and this many seconds for each page."""
    fetched, page_s, found = request.param
    monkeypatch.setattr(history, "_FETCHED", fetched)
    monkeypatch.setattr(history, "_PAGE_S", page_s)
    return set(found)


@pytest.mark.sandbox_only
async def test_a_user_sees_records_only_of_permitted_namespaces_of_this_cluster(
    api: Api, records: RecordServiceProcess, sizes: set[int]
) -> None:
    # Nothing lives in the user's namespace. Of six records one is the user's; the others have the
    # same namespace in other clusters, or none, or are of other namespaces.
    await records.wait_until_ready()
    mine = api.namespace
    kinds: list[dict[str, Any]] = [
        {"namespace": "theirs"},
        {"namespace": mine, "cluster": "another"},
        {"namespace": mine, "cluster": None},
        {"namespace": "theirs"},
        {"namespace": mine, "name": "old"},
        {"namespace": "theirs"},
    ]
    uids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(60)]
    async with Client(records.url) as client:
        for number, uid in enumerate(uids):
            completed = f"2026-01-01T00:00:{number:02d}.5Z"
            record = make_record(uid, completedAt=completed, **kinds[number % 6])
            assert (await client.put(record)).status == 200
    accounts = api.server.inside.server.accounts.by_token
    accounts["admin"] = Account("admin")
    accounts["rita"] = Account("rita", namespaces=frozenset({mine}), verbs=frozenset({"list"}))
    try:
        async with running_console(api.server, auth="token", **of_service(records)) as console:
            console.session.headers["Authorization"] = "Bearer rita"
            await listed(console, lambda _: True)
            pages = await all_pages(console, "?limit=3")
            rows = [row for page in pages for row in page["items"]]
            assert [row["uid"] for row in rows] == uids[4::6][::-1]
            assert {len(page["items"]) for page in pages} == sizes
            assert {name for page in pages for name in page["namespaces"]} == {mine}
            for page in pages[:-1]:
                hidden = b64decode(page["next"] + "===", altchars=b"-_").decode()
                assert not [uid for uid in uids if uid in hidden or uid in page["next"]]
                assert "2026" not in hidden
            for number in (0, 1, 2):
                assert (await console.get(f"/api/jobs/{uids[number]}")).status == 404
                assert (await console.get(f"/api/jobs/{uids[number]}/logs")).status == 404
            assert (await console.get(f"/api/jobs/{uids[4]}")).status == 200
            forged = (await console.get(f"/api/jobs?limit=3&cursor={FORGED}")).json
            assert forged["error"]["reason"] == "BadRequest"
    finally:
        accounts.clear()


async def test_a_cluster_name_without_any_record_is_logged_once(
    api: Api, records: RecordServiceProcess, caplog: pytest.LogCaptureFixture
) -> None:
    await records.wait_until_ready()
    async with Client(records.url) as client:
        assert (
            await client.put(make_record(namespace=api.namespace, cluster="lab"))
        ).status == 200
    settings = of_service(records) | {"cluster_name": "lap", "namespaces": [api.namespace]}
    async with running_console(api.server, **settings) as console:
        for _ in range(3):
            found = await listed(console, lambda answer: answer["history"]["available"])
            assert found["items"] == []
    said = [line for line in caplog.messages if "TRAININGJOB_CONSOLE_CLUSTER_NAME" in line]
    assert len(said) == 1
    assert "records of the cluster lab and none yet of lap" in said[0]
