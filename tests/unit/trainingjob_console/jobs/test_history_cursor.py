"""The cursor of the history: the sort key of records, and the encrypted form."""

from typing import Any

import pytest

from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.history_cursor import HistoryCursor, key_of


def test_the_sort_key_gives_the_order_of_the_service() -> None:
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


def test_a_cursor_is_decoded_as_it_was_encoded_and_another_secret_is_refused() -> None:
    place = HistoryCursor("cursor of the service", (1, "uid"))
    assert HistoryCursor.decode(b"secret", place.encode(b"secret")) == place
    assert HistoryCursor.decode(b"secret", HistoryCursor("c").encode(b"secret")) == HistoryCursor(
        "c"
    )
    assert HistoryCursor.decode(b"secret", "") == HistoryCursor()
    with pytest.raises(BadRequestError, match="first page"):
        HistoryCursor.decode(b"another", place.encode(b"secret"))
