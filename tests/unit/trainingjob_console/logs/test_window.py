"""Consecutive windows of any size are the whole log, whatever its lines."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.logs.window import MAX_LINE, MAX_WINDOW, Window, WindowReader


def window(log: bytes, offset: int, limit: int, *, parts: int = 13, start: int = 0) -> Window:
    reader = WindowReader(offset, limit, start=start)
    for at in range(start, len(log), parts):
        reader.feed(log[at : at + parts])
    assert reader.position == len(log)
    return reader.end()


@given(
    log=st.lists(st.text("ab é\r", max_size=30), max_size=30).map(
        lambda ls: "\n".join(ls).encode()
    ),
    limit=st.integers(1, 200),
    parts=st.integers(1, 50),
)
@settings(deadline=None, max_examples=200)
def test_consecutive_windows_are_the_log(log: bytes, limit: int, parts: int) -> None:
    found, at = "", 0
    while at < len(log):
        each = window(log, at, limit, parts=parts)
        assert each.offset == at
        assert each.next_offset > at
        assert (
            each.next_offset == len(log) or log[each.next_offset - 1 : each.next_offset] == b"\n"
        )
        found, at = found + each.text, each.next_offset
    assert found.encode() == log


LOG = b"".join(b"line %03d\n" % n for n in range(100))  # of 9 bytes each


@pytest.mark.parametrize(
    ("offset", "limit", "first", "following"),
    [
        (0, 20, 0, 18),  # whole lines only
        (9, 20, 9, 27),
        (10, 20, 18, 36),  # from the next line on
        (890, 500, 891, 900),
        (900, 500, 900, 900),
        (5000, 500, 900, 900),
        (2, 3, 0, 9),  # none begins there: the one that covers it
    ],
)
def test_a_window_has_whole_lines(offset: int, limit: int, first: int, following: int) -> None:
    found = window(LOG, offset, limit)
    assert (found.offset, found.next_offset) == (first, following)
    assert found.text.encode() == LOG[first:following]


def test_a_line_of_two_megabytes_is_truncated_and_its_neighbours_are_readable() -> None:
    long = b"y" * (2 * 2**20)
    log = b"before\n" + long + b"\nafter\n"
    whole = window(log, 0, MAX_WINDOW, parts=65536)
    assert (whole.offset, whole.next_offset, whole.text, whole.cut) == (0, 7, "before\n", 0)
    cut = window(log, 7, MAX_WINDOW, parts=65536)
    assert (cut.offset, cut.next_offset, cut.cut) == (7, 7 + len(long) + 1, 1)
    assert cut.text.startswith("y" * MAX_LINE + " … ")
    assert cut.text.endswith(" bytes more: download\n")
    assert len(cut.text) < MAX_LINE + 100
    assert window(log, cut.next_offset, MAX_WINDOW).text == "after\n"
    # As a page scrolls up: a window that ends at the current one.
    above = window(log, cut.next_offset - MAX_WINDOW, MAX_WINDOW, parts=65536)
    assert (above.offset, above.next_offset, above.cut) == (7, cut.next_offset, 1)
    tail = window(log[:-7], len(log) - 107, MAX_WINDOW, parts=65536)
    assert (tail.offset, tail.next_offset, tail.cut) == (7, cut.next_offset - 1, 1)


def test_a_progress_bar_is_one_line() -> None:
    log = b"".join(b"\r%3d%%" % n for n in range(101)) + b"\ndone\n"
    assert window(log, 0, MAX_WINDOW).text.encode() == log
