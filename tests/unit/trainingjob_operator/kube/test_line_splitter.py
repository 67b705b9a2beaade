"""Lines of a watch, however they are cut on their way."""

import pytest

from trainingjob_operator.kube.line_splitter import LineSplitter


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    sent = b'{"a": 1}\n\n{"b": "long enough"}\n{"c": 3}\nnot complete'
    lines = LineSplitter()
    found = [
        line
        for start in range(0, len(sent), size)
        for line in lines.feed(sent[start : start + size])
    ]
    assert found == [b'{"a": 1}', b'{"b": "long enough"}', b'{"c": 3}']


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_line_that_is_too_long_is_said_to_have_been_there_and_costs_no_other(size: int) -> None:
    sent = b"12345\n" + b"x" * 50 + b"\n67890\n"
    lines = LineSplitter(max_line=5)
    found = [
        line
        for start in range(0, len(sent), size)
        for line in lines.feed(sent[start : start + size])
    ]
    assert found == [b"12345", None, b"67890"]


def test_of_a_line_that_never_ends_no_more_is_held_than_a_line_may_have() -> None:
    lines = LineSplitter(max_line=100)
    for _ in range(1000):
        assert list(lines.feed(b"x" * 10)) == []
        assert sum(map(len, lines._parts)) <= 100
