"""The place of a record in the service's list: by its own times alone, the newest first."""

from typing import Any

import pytest

from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.history_cursor import HistoryCursor, key_of


def test_records_are_in_the_order_of_the_service() -> None:
    newest_first: list[dict[str, Any]] = [
        {"uid": "b", "completedAt": "2026-01-01T00:00:01.000002Z"},
        {"uid": "a", "completedAt": "2026-01-01T00:00:01.000002+00:00"},
        {"uid": "z", "completedAt": "2026-01-01T00:00:01.000001Z"},
        {"uid": "y", "createdAt": "2026-01-01T01:00:00+01:00", "completedAt": None},
        {"uid": "x"},
    ]
    assert sorted(newest_first, key=key_of, reverse=True) == newest_first
    place = HistoryCursor("page", key_of(newest_first[1]))
    assert [place.is_before(record) for record in newest_first] == [False, False, True, True, True]
    assert all(HistoryCursor("page").is_before(record) for record in newest_first)


def test_a_place_is_read_as_it_was_written_and_no_other() -> None:
    place = HistoryCursor("cursor of the service", (1, "uid"))
    assert HistoryCursor.decode(b"secret", place.encode(b"secret")) == place
    assert HistoryCursor.decode(b"secret", HistoryCursor("c").encode(b"secret")) == HistoryCursor(
        "c"
    )
    assert HistoryCursor.decode(b"secret", "") == HistoryCursor()
    with pytest.raises(BadRequestError, match="first page"):
        HistoryCursor.decode(b"another", place.encode(b"secret"))
