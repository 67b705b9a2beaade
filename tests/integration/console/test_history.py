"""Jobs of the past come after those that live, each job once, from a real record service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.console.conftest import listed
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.console.running import running_console
from tests.support.records.records import a_record
from tests.support.records.service import Client, RecordServiceProcess


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordServiceProcess]:
    """A record service with a database of its own."""
    with RecordServiceProcess(tmp_path, f"sqlite:///{tmp_path / 'records.db'}") as service:
        service.start()
        yield service


async def test_the_past_comes_after_what_lives_and_each_job_once(
    api: Api, records: RecordServiceProcess
) -> None:
    await records.wait_until_ready()
    live = await api.apply(make_job("alive"))
    async with Client(records.url) as client:
        for number in range(5):
            uid = f"00000000-0000-4000-8000-{number:012d}"
            completed = f"2026-01-0{number + 1}T00:00:00Z"
            record = a_record(
                uid, namespace=api.namespace, name=f"old-{number}", completedAt=completed
            )
            assert (await client.put(record)).status == 200
        both = a_record(live["metadata"]["uid"], namespace=api.namespace, name="alive")
        assert (await client.put(both)).status == 200
        elsewhere = a_record("00000000-0000-4000-8000-00000000000a", namespace="elsewhere")
        assert (await client.put(elsewhere)).status == 200
    settings: dict[str, Any] = {
        "records_url": f"{records.url}/api/v1/jobs",
        "records_token_file": records.token_file,
        "namespaces": [api.namespace],
    }
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


async def test_without_the_record_service_what_lives_is_listed_all_the_same(api: Api) -> None:
    await api.apply(make_job("alive"))
    async with running_console(api.server, records_url="http://127.0.0.1:1/jobs") as console:
        found = await listed(
            console, lambda answer: answer["total"] == 1, f"?namespace={api.namespace}"
        )
        assert [row["name"] for row in found["items"]] == ["alive"]
        assert found["history"]["available"] is False
        assert "the record service cannot be asked" in found["history"]["message"]
