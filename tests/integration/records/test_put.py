"""The contract of the PUT, which a user's own receiver must keep, too."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.monitoring.metrics_page import documented_metrics, exposed_metrics
from tests.support.records.postgres import PASSWORD
from tests.support.records.records import encode, make_record
from tests.support.records.service import TOKEN, Client, RecordServiceProcess

LIMIT = 2 * 1024 * 1024


async def kept(client: Client, uid: str) -> Any:
    answer = await client.get(f"/api/v1/jobs/{uid}")
    assert answer.status == 200, answer
    return answer.json


async def test_a_record_is_stored_and_returned_byte_for_byte(client: Client) -> None:
    record = make_record(laterField={"of": ["a", "later", "version"]}, message="it\0is ünïcode")
    answer = await client.put(record)
    assert (answer.status, answer.json["uid"]) == (200, record["uid"])
    assert (answer.json["revision"], answer.json["result"]) == (1, "stored")
    stored = await client.get(f"/api/v1/jobs/{record['uid']}")
    assert stored.text.encode() == encode(record)


async def test_a_repeated_put_gets_the_same_response_and_one_row(client: Client) -> None:
    record = make_record(namespace=f"again-{uuid4().hex[:6]}")
    answers = [await client.put(record) for _ in range(3)]
    assert [(a.status, a.json["result"]) for a in answers] == [
        (200, "stored"),
        (200, "unchanged"),
        (200, "unchanged"),
    ]
    assert len((await client.list(("namespace", record["namespace"])))["items"]) == 1


async def test_the_order_of_keys_does_not_matter(client: Client) -> None:
    record = make_record()
    await client.put(record)
    shuffled = json.dumps(dict(reversed(record.items())), indent=1).encode()
    answer = await client.put_bytes(record["uid"], shuffled)
    assert (answer.status, answer.json["result"]) == (200, "unchanged")


async def test_a_higher_revision_replaces_a_lower_one(client: Client) -> None:
    record = make_record(labels={"team": "vision", "old": "yes"})
    await client.put(record)
    newer = record | {"revision": 2, "labels": {"team": "speech"}, "logs": {"path": "x"}}
    answer = await client.put(newer)
    assert (answer.json["revision"], answer.json["result"]) == (2, "stored")
    assert await kept(client, record["uid"]) == newer
    listed = await client.list(("label", "team=speech"), ("limit", "200"))
    assert [r["labels"] for r in listed["items"] if r["uid"] == record["uid"]] == [
        {"team": "speech"}
    ]
    assert (await client.list(("label", "old=yes")))["items"] == []


async def test_a_lower_revision_gets_the_stored_one_in_the_response(client: Client) -> None:
    record = make_record(revision=5)
    await client.put(record)
    answer = await client.put(record | {"revision": 4, "phase": "Failed"})
    assert answer.status == 200
    assert answer.json == {"uid": record["uid"], "revision": 5, "result": "superseded"}
    assert await kept(client, record["uid"]) == record


async def test_the_same_revision_with_other_content_is_a_conflict(client: Client) -> None:
    record = make_record()
    await client.put(record)
    answer = await client.put(record | {"phase": "Failed"})
    assert answer.status == 409
    assert "stored with other content" in answer.json["error"]
    assert await kept(client, record["uid"]) == record


async def test_of_concurrent_revisions_the_highest_is_kept(client: Client) -> None:
    record = make_record()
    answers = await asyncio.gather(
        *(client.put(record | {"revision": n, "restarts": n}) for n in (3, 9, 1, 7, 9, 2, 8))
    )
    assert {answer.status for answer in answers} == {200}
    assert (await kept(client, record["uid"]))["restarts"] == 9


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        ({"uid": "another"}, 422, "the path names uid"),
        ({"schemaVersion": 2}, 422, "understands version 1"),
        ({"schemaVersion": "2.1"}, 422, "understands version 1"),
        ({"schemaVersion": None}, 422, "schemaVersion: "),
        ({"revision": "1"}, 422, "revision: "),
        ({"revision": -1}, 422, "revision: "),
        ({"revision": 2**70}, 422, "revision: "),
        ({"revision": True}, 422, "revision: "),
        ({"completedAt": "yesterday"}, 422, "completedAt: must be a time like"),
        ({"completedAt": "2026-03-01T11:00:05"}, 422, "completedAt: must be a time like"),
        ({"completedAt": "0001-01-01T00:00:00+14:00"}, 422, "completedAt: must be a time like"),
        ({"labels": {"a": 1}}, 422, "labels.a: "),
        ({"name": ""}, 422, "name: "),
        ({"exitCode": 2**40}, 422, "exitCode: "),
    ],
)
async def test_an_invalid_record_is_refused_with_a_sentence(
    client: Client, change: dict[str, Any], status: int, sentence: str
) -> None:
    record = make_record()
    answer = await client.put_bytes(record["uid"], encode(record | change))
    assert (answer.status, sentence in answer.json["error"]) == (status, True), answer
    assert (await client.get(f"/api/v1/jobs/{record['uid']}")).status == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"<html>", b"\xff\xfe", b'{"revision": NaN}', b"[" * 100_000, b'{"a":"\\ud800"}'],
    ids=["empty", "half", "html", "no-utf8", "nan", "deep", "surrogate"],
)
async def test_invalid_json_is_a_bad_request(client: Client, body: bytes) -> None:
    answer = await client.put_bytes("some-uid", body)
    assert (answer.status, answer.json["error"]) == (400, "the body is not JSON")


async def test_a_body_changed_in_transit_is_detected(client: Client) -> None:
    record = make_record()
    key = f"{record['uid']}:1:{'0' * 64}"
    answer = await client.put_bytes(record["uid"], encode(record), Idempotency_Key=key)
    assert (answer.status, "SHA-256" in answer.json["error"]) == (400, True)
    foreign = await client.put_bytes(record["uid"], encode(record), Idempotency_Key="of-my-own")
    assert foreign.status == 200


async def test_a_body_over_the_limit_is_rejected_for_every_transfer_encoding(
    client: Client,
) -> None:
    record = make_record(message="x" * LIMIT)

    async def in_pieces() -> AsyncIterator[bytes]:
        body = encode(record)
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    for body in (io.BytesIO(encode(record)), in_pieces()):
        answer = await client.put_bytes(record["uid"], body)
        assert (answer.status, f"larger than {LIMIT} bytes" in answer.text) == (413, True)


async def test_a_body_just_below_the_limit_is_stored(client: Client) -> None:
    record = make_record()
    room = LIMIT - len(encode(record | {"message": ""}))
    record["message"] = "x" * room
    assert len(encode(record)) == LIMIT
    assert (await client.put(record)).status == 200
    listed = await client.list(("limit", "200"))
    assert all(len(item["message"]) <= 1024 for item in listed["items"])


async def test_other_media_types_and_compressed_bodies_are_refused(client: Client) -> None:
    body = encode(make_record(uid="u"))
    assert (await client.put_bytes("u", body, Content_Type="text/plain")).status == 415
    assert (await client.put_bytes("u", body, Content_Encoding="gzip")).status == 415


@pytest.mark.parametrize("token", [None, "", "wrong", f"{TOKEN}x", "ünïcode"])
async def test_without_a_known_token_nothing_is_returned(
    service: RecordServiceProcess, client: Client, token: str | None
) -> None:
    record = make_record()
    await client.put(record)
    async with Client(service.url, token=token) as stranger:
        for answer in (
            await stranger.put(record),
            await stranger.get("/api/v1/jobs"),
            await stranger.get(f"/api/v1/jobs/{record['uid']}"),
            await stranger.put_bytes("%00", b"{"),
        ):
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert (await stranger.get("/healthz")).status == 200
        assert (await stranger.get("/readyz")).status == 200


async def test_a_new_token_is_valid_at_once_and_an_old_one_is_not(
    service: RecordServiceProcess, client: Client
) -> None:
    new = service.token_file.with_suffix(".new")
    new.write_text("the-next-one\n")
    before = service.token_file.read_text()
    new.replace(service.token_file)
    try:
        async with Client(service.url, token="the-next-one") as renewed:
            assert (await renewed.get("/api/v1/jobs")).status == 200
        assert (await client.get("/api/v1/jobs")).status == 401
        service.token_file.unlink()
        async with Client(service.url, token="the-next-one") as renewed:
            assert (await renewed.get("/api/v1/jobs")).status == 200
    finally:
        service.token_file.write_text(before)
    assert (await client.get("/api/v1/jobs")).status == 200


async def test_labels_that_cannot_be_searched_are_stored(client: Client) -> None:
    labels = {f"key-{n:04}": "v" for n in range(500)} | {"k": "x" * 400, "n": "a\0b"}
    record = make_record(labels=labels)
    assert (await client.put(record)).status == 200
    assert await kept(client, record["uid"]) == record
    listed = await client.list(("label", "key-0000=v"))
    assert [len(item["labels"]) for item in listed["items"]] == [64]


async def test_an_unknown_record_is_a_404(client: Client) -> None:
    assert (await client.get("/api/v1/jobs/nobody")).status == 404
    assert (await client.get("/api/v1/jobs/%00")).status == 422
    assert (await client.get("/nowhere")).status == 404
    assert (await client.request("DELETE", "/api/v1/jobs/nobody")).status == 405


async def test_metrics_contain_no_job_names(client: Client) -> None:
    record = make_record(name="very-private", namespace="very-private-too")
    await client.put(record)
    await client.request("BREW", "/some/path")
    metrics = (await client.get("/metrics")).text
    assert 'trainingjob_records_records_total{result="stored"}' in metrics
    assert 'route="/api/v1/jobs/{uid}",status="200"' in metrics
    assert 'method="other",route="other",status="404"' in metrics
    assert "very-private" not in metrics
    assert record["uid"] not in metrics


async def test_the_metrics_are_those_in_the_docs(client: Client) -> None:
    text = (await client.get("/metrics")).text
    assert exposed_metrics(text) == documented_metrics("trainingjob_records_")


async def test_the_log_contains_no_secret(service: RecordServiceProcess, client: Client) -> None:
    await client.put(make_record(message="a-private-message"))
    async with Client(service.url, token="a-wrong-token") as stranger:
        await stranger.put(make_record())
    await client.put_bytes("u", b"{broken-body")
    log = service.log()
    assert "records are kept in" in log
    for secret in (TOKEN, PASSWORD, "a-private-message", "a-wrong-token", "broken-body"):
        assert secret not in log


async def test_a_read_only_token_lists_and_gets_but_does_not_store(
    dsn: str, tmp_path: Path
) -> None:
    readers = tmp_path / "readers"
    readers.write_text("only-to-read\n")
    with RecordServiceProcess(tmp_path, dsn, read_token_file=str(readers)) as service:
        await service.wait_until_ready()
        record = make_record()
        async with (
            Client(service.url) as writer,
            Client(service.url, token="only-to-read") as reader,
        ):
            refused = await reader.put(record)
            assert (refused.status, "only read" in refused.json["error"]) == (403, True)
            assert (await writer.put(record)).json["result"] == "stored"
            assert await kept(reader, record["uid"]) == record
            assert [each["uid"] for each in (await reader.list())["items"]] == [record["uid"]]
