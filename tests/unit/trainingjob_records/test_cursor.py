"""A cursor is what it was, or is refused."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainingjob_records.cursor import Cursor
from trainingjob_records.errors import InvalidRecordError


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(8999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True),
)
def test_a_cursor_comes_back_as_it_was(time: datetime, uid: str) -> None:
    assert Cursor.decode(Cursor(time, uid).encode()) == Cursor(time, uid)


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_is_refused(word: str) -> None:
    with suppress(InvalidRecordError):
        assert isinstance(Cursor.decode(word), Cursor)


@pytest.mark.parametrize(
    "word", ["WzFlMzAsICJhIl0", "W3RydWUsICJhIl0", "Wy0xLCAiYSJd", "WzEsICJhXHUwMDAwIl0"]
)
def test_numbers_that_are_no_time_are_refused(word: str) -> None:
    with pytest.raises(InvalidRecordError):
        Cursor.decode(word)
