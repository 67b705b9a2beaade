"""A cursor is decoded to its value, or refused."""

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
def test_decode_reverses_encode(time: datetime, uid: str) -> None:
    assert Cursor.decode(Cursor(time, uid).encode()) == Cursor(time, uid)


@given(st.text(max_size=60))
def test_any_text_is_decoded_or_refused(word: str) -> None:
    with suppress(InvalidRecordError):
        assert isinstance(Cursor.decode(word), Cursor)


@pytest.mark.parametrize(
    "word", ["WzFlMzAsICJhIl0", "W3RydWUsICJhIl0", "Wy0xLCAiYSJd", "WzEsICJhXHUwMDAwIl0"]
)
def test_numbers_outside_the_valid_times_are_refused(word: str) -> None:
    with pytest.raises(InvalidRecordError):
        Cursor.decode(word)
