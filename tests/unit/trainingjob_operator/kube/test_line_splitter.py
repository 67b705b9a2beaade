"""The lines of a watch response, received in arbitrary chunks."""

import pytest

from trainingjob_operator.kube.line_splitter import LineSplitter


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_for_every_chunk_size(size: int) -> None:
    sent = b'{"a": 1}\n\n{"b": "long enough"}\n{"c": 3}\nnot complete'
    lines = LineSplitter()
    found = [
        line
        for start in range(0, len(sent), size)
        for line in lines.feed(sent[start : start + size])
    ]
    assert found == [b'{"a": 1}', b'{"b": "long enough"}', b'{"c": 3}']


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_line_that_is_too_long_is_reported_and_affects_no_other(size: int) -> None:
    sent = b"12345\n" + b"x" * 50 + b"\n67890\n"
    lines = LineSplitter(max_line=5)
    found = [
        line
        for start in range(0, len(sent), size)
        for line in lines.feed(sent[start : start + size])
    ]
    assert found == [b"12345", None, b"67890"]


def test_a_line_that_never_ends_buffers_no_more_than_the_limit() -> None:
    lines = LineSplitter(max_line=100)
    for _ in range(1000):
        assert list(lines.feed(b"x" * 10)) == []
        assert sum(map(len, lines._parts)) <= 100
