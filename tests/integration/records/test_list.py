"""The list of records: filters, order, pagination without gaps or duplicates, and limits."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from tests.support.records.records import make_record
from tests.support.records.service import Client, RecordServiceProcess

Query = Sequence[tuple[str, str]]


async def seed(client: Client, count: int, **fields: Any) -> str:
    """Records in a namespace of their own, a minute apart, some at the same time."""
    namespace = f"list-{uuid4().hex[:8]}"
    for number in range(count):
        minute, hour = (number // 2) % 60, 10 + number // 120
        answer = await client.put(
            make_record(
                namespace=namespace,
                name=f"job-{number:03}",
                completedAt=f"2026-03-01T{hour}:{minute:02}:00Z",
                phase=("Succeeded", "Failed", "Cancelled")[number % 3],
                labels={"team": ("vision", "speech")[number % 2], "run": str(number)},
                message=f"rank {number} says Straße {number}%",
            )
            | fields
        )
        assert answer.status == 200
    return namespace


async def names(client: Client, namespace: str, *query: tuple[str, str]) -> list[str]:
    """The names on all pages."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        more = [("cursor", cursor)] if cursor else []
        page = await client.list(("namespace", namespace), *query, *more)
        found += [item["name"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found


async def test_records_are_ordered_newest_first_and_then_by_uid(client: Client) -> None:
    namespace = await seed(client, 9)
    page = await client.list(("namespace", namespace))
    keys = [(item["completedAt"], item["uid"]) for item in page["items"]]
    assert keys == sorted(keys, reverse=True)
    assert (len(keys), page["next"]) == (9, None)


async def test_a_summary_has_the_columns_of_a_table_and_no_spec(client: Client) -> None:
    record = make_record(namespace=f"one-{uuid4().hex[:8]}")
    await client.put(record)
    (item,) = (await client.list(("namespace", record["namespace"])))["items"]
    assert item.pop("storedAt").endswith("Z")
    assert item.pop("schemaVersion") == "1"
    assert item == {name: record[name] for name in item}
    assert set(record) - set(item) == {"schemaVersion", "spec", "images", "resources", "logs"}


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ([("phase", "Failed")], [1, 4, 7, 10]),
        ([("label", "team=speech")], [1, 3, 5, 7, 9, 11]),
        ([("label", "team=speech"), ("label", "run=3")], [3]),
        ([("label", "team=vision"), ("label", "run=3")], []),
        ([("label", "team=speech"), ("phase", "Failed")], [1, 7]),
        ([("since", "2026-03-01T10:04:00Z")], [8, 9, 10, 11]),
        ([("until", "2026-03-01T10:01:00Z")], [0, 1]),
        ([("since", "2026-03-01T12:01:00+02:00"), ("until", "2026-03-01T10:02:00Z")], [2, 3]),
        ([("label", "team=vision"), ("since", "2026-03-01T10:04:00Z")], [8, 10]),
        ([("text", "JOB-00")], list(range(10))),
        ([("text", "STRASSE 7")], [7]),
        ([("text", "7%")], [7]),
        ([("text", "_")], []),
        ([("text", "straße"), ("phase", "Cancelled"), ("label", "team=vision")], [2, 8]),
        ([("phase", "Succeeded' OR '1'='1")], []),
        ([("phase", "\0")], []),
        ([("text", "\0")], []),
    ],
)
@pytest.mark.parametrize("limit", ["2", "200"])
async def test_filters_narrow_the_list(
    client: Client, seeded: str, query: Query, numbers: list[int], limit: str
) -> None:
    found = await names(client, seeded, *query, ("limit", limit))
    assert sorted(found) == [f"job-{number:03}" for number in numbers]


@pytest.fixture
async def seeded(
    client: Client, service: RecordServiceProcess, request: pytest.FixtureRequest
) -> str:
    """Twelve records, once for each service: another one may get the port of one that has ended."""
    cache: dict[RecordServiceProcess, str] = request.session.__dict__.setdefault("_seeded", {})
    if service not in cache:
        cache[service] = await seed(client, 12)
    return cache[service]


async def test_pages_lose_and_repeat_nothing_while_rows_are_added(client: Client) -> None:
    namespace = await seed(client, 40)
    chance = random.Random(1)
    done = asyncio.Event()

    async def insert() -> None:
        while not done.is_set():
            minute = chance.randrange(60)
            time = f"2026-03-01T10:{minute:02}:{chance.randrange(60):02}Z"
            await client.put(make_record(namespace=namespace, name="late", completedAt=time))

    inserting = asyncio.create_task(insert())
    for limit in ("1", "3", "7"):
        found = await names(client, namespace, ("limit", limit))
        early = [name for name in found if name != "late"]
        assert sorted(early) == [f"job-{number:03}" for number in range(40)]
    done.set()
    await inserting


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (("limit", "201"), "limit: "),
        (("limit", "0"), "limit: "),
        (("limit", "many"), "limit: "),
        (("text", "x" * 101), "text: "),
        (("cursor", "nonsense"), "cursor: must be the `next`"),
        (("cursor", "WzEsMl0"), "cursor: must be the `next`"),
        (("cursor", "é"), "cursor: must be the `next`"),
        (("label", "team"), "label: must be KEY=VALUE"),
        (("label", "=v"), "label: must be KEY=VALUE"),
        (("since", "yesterday"), "since: "),
        (("since", "2026-03-01T10:00:00"), "since: "),
        (("namespaces", "ml"), "namespaces: "),
    ],
    ids=str,
)
async def test_an_invalid_query_is_explained(
    client: Client, query: tuple[str, str], sentence: str
) -> None:
    answer = await client.get("/api/v1/jobs", params=[query])
    assert (answer.status, answer.json["error"].startswith(sentence)) == (422, True), answer


async def test_the_minimum_and_maximum_datetime_are_valid_filters(client: Client) -> None:
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        for name in ("since", "until"):
            answer = await client.get("/api/v1/jobs", params=[(name, time)])
            assert answer.status in {200, 422}, answer


async def test_too_many_labels_are_refused(client: Client) -> None:
    query = [("label", f"a=b{n}") for n in range(9)]
    assert (await client.get("/api/v1/jobs", params=query)).status == 422


async def test_records_without_times_are_at_the_end_of_the_list(client: Client) -> None:
    namespace = await seed(client, 2)
    await client.put(
        make_record(namespace=namespace, name="timeless", completedAt=None, createdAt=None)
    )
    assert (await names(client, namespace, ("limit", "1")))[-1] == "timeless"
