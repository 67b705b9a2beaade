import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.logs.search import _STEP as STEP
from trainingjob_console.logs.search import ERROR, LONGEST, Search, first_error


def search(log: bytes, text: bytes, *, parts: int = 11, limit: int = 1000) -> Search:
    found = Search(re.compile(re.escape(text)), limit=limit)
    for at in range(0, len(log), parts):
        if found.is_full:
            break
        found.feed(log[at : at + parts])
    if not found.is_full:
        found.end()
    return found


@given(
    lines=st.lists(st.text("abx", max_size=8), max_size=20),
    parts=st.integers(1, 40),
    limit=st.integers(1, 10),
)
@settings(deadline=None, max_examples=200)
def test_every_line_with_the_text_is_found_once(lines: list[str], parts: int, limit: int) -> None:
    log = "".join(line + "\n" for line in lines).encode()
    expected = []
    at = 0
    for line in lines:
        if "x" in line:
            expected.append({"offset": at, "line": line})
        at += len(line) + 1
    found = search(log, b"x", parts=parts, limit=limit)
    assert found.hits == expected[:limit]
    if len(expected) <= limit and not found.is_full:
        assert found.scanned == len(log)
    elif found.is_full:
        rest = search(log[found.scanned :], b"x", parts=parts)
        assert [each["offset"] + found.scanned for each in rest.hits] == [
            each["offset"] for each in expected[limit:]
        ]


def test_a_long_line_is_one_hit_of_bounded_size() -> None:
    log = b"x" * (5 * 2**20) + b"\nx\n"
    found = search(log, b"x", parts=65536)
    assert [each["offset"] for each in found.hits] == [0, 5 * 2**20 + 1]
    assert len(found.hits[0]["line"]) == 512


@pytest.mark.parametrize(
    ("line", "is_error"),
    [
        (b"Traceback (most recent call last):", True),
        (b"2026 ERROR no", True),
        (b"RuntimeError: x", False),
        (b"ValueError", False),
        (b"0 errors", False),
        (b"panic: boom", True),
        (b"loss 0.1", False),
    ],
)
def test_a_line_is_an_error_if_it_has_one_of_the_words(line: bytes, *, is_error: bool) -> None:
    assert (ERROR.search(line) is not None) == is_error


@given(
    words=st.lists(
        st.sampled_from(
            [
                "ERROR",
                "Error",
                "MyError",
                "panic:",
                "FATAL",
                "Traceback (most recent",
                "x",
                " ",
                "\n",
            ]
        ),
        max_size=12,
    ),
    size=st.integers(1, 30),
)
@settings(deadline=None, max_examples=300)
def test_the_first_error_is_the_first_line_that_the_pattern_finds(
    words: list[str], size: int
) -> None:
    log = "".join(words).encode()
    match = ERROR.search(log)
    expected = log.rfind(b"\n", 0, match.start()) + 1 if match is not None else None
    assert first_error(log[at : at + size] for at in range(0, len(log), size)) == expected


@pytest.mark.parametrize("before", [STEP - 1, STEP, STEP + 1, STEP - 99, 3 * STEP - 50])
def test_a_match_across_two_steps_is_found_where_it_begins(before: int) -> None:
    text = b"0123456789" * 10
    log = b"." * before + text + b"." * STEP + text + b"\n" + text + b"\n"
    found = search(log, text, parts=len(log))
    assert [hit["offset"] for hit in found.hits] == [0, len(log) - len(text) - 1]
    [first] = search(log.replace(b".", b"\n"), text, parts=len(log), limit=1).hits
    assert first["offset"] == before


def test_steps_are_bounded_when_nothing_is_found() -> None:
    """A regular expression blocks all threads while it is matched, here on 16 KiB of the worst log."""
    looked: list[int] = []

    class Counted:
        def __init__(self) -> None:
            self.pattern = re.compile(b"a" * 200 + b"b")

        def search(self, block: bytes, at: int, end: int = sys.maxsize) -> None:
            looked.append(min(end, len(block)) - at)
            assert self.pattern.search(block, at, end) is None

    counted: Any = Counted()
    found = Search(counted, limit=10)
    found.feed(b"a" * 2**20 + b"\n")
    found.end()
    assert found.hits == []
    assert max(looked) == STEP + LONGEST
    assert sum(looked) > 2**20
