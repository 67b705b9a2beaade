"""A large record is stored without its spec, and with specOmitted."""

import json

import pytest

from tests.support.records.records import make_record
from trainingjob_records.record import MAX_WITH_SPEC, parse_entry

UID = "1b0f0d0c-7c1e-4d7f-9a55-2f6f2b6a9d11"


def body_of(size: int) -> bytes:
    """A record of this many bytes, most of them in its spec, in a script of two bytes a letter."""
    record = make_record(UID, spec={"numNodes": 2, "template": {"args": ""}})
    room = size - len(json.dumps(record, ensure_ascii=False).encode())
    record["spec"]["template"]["args"] = "ж" * (room // 2) + "x" * (room % 2)
    return json.dumps(record, ensure_ascii=False).encode()


def test_a_record_at_the_limit_is_stored_unchanged() -> None:
    body = body_of(MAX_WITH_SPEC)
    assert len(body) == MAX_WITH_SPEC
    entry = parse_entry(UID, body)
    assert entry.body.encode() == body


def test_a_larger_record_is_stored_without_its_spec_and_with_spec_omitted() -> None:
    body = body_of(MAX_WITH_SPEC + 1)
    entry = parse_entry(UID, body)
    assert json.loads(entry.body) == json.loads(body) | {"spec": None, "specOmitted": True}
    assert entry.size == len(entry.body.encode()) < MAX_WITH_SPEC
    assert (entry.record.spec, entry.record.spec_omitted) == (None, True)


@pytest.mark.parametrize("change", [{}, {"attempt": 7}])
def test_records_are_compared_by_the_content_that_was_sent(change: dict[str, int]) -> None:
    body = body_of(MAX_WITH_SPEC + 1)
    other = json.loads(body)
    other["spec"] |= change
    again = parse_entry(UID, json.dumps(other).encode())
    assert (again.digest == parse_entry(UID, body).digest) is not bool(change)
