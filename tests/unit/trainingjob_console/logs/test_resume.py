"""However often and wherever a stream breaks, the result is the exact log."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.logs.resume import LineResume

# One moment each, as nanoseconds since 1970 and as kubelets write it: in any zone.
MOMENTS = [
    (1_767_225_600_100_000_000, b"2026-01-01T00:00:00.100000000Z"),
    (1_767_225_600_123_456_789, b"2026-01-01T00:00:00.123456789Z"),
    (1_767_225_600_200_000_000, b"2026-01-01T02:00:00.200000000+02:00"),
    (1_767_225_600_200_000_000, b"2026-01-01T00:00:00.200000000Z"),
    (1_767_225_601_000_000_000, b"2026-01-01T00:00:01.000000000Z"),
    (1_767_225_601_500_000_000, b"2025-12-31T18:30:01.500000000-05:30"),
    (1_767_225_602_000_000_001, b"2026-01-01T00:00:02.000000001Z"),
    (1_767_225_700_000_000_000, b"2026-01-01T00:01:40.000000000+00:00"),
]


@dataclass(frozen=True)
class Line:
    """A line of a log, as the node stores it."""

    moment: tuple[int, bytes]
    text: bytes

    @property
    def shown(self) -> bytes:
        return self.moment[1] + b" " + self.text + b"\n"


LINES = st.lists(
    st.builds(
        Line,
        st.sampled_from(MOMENTS),
        st.binary(max_size=12).map(lambda text: text.replace(b"\n", b".")),
    ),
    max_size=12,
)
BREAKS = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50)), max_size=6)
SECONDS = {f"2026-01-01T00:00:0{n}Z": 1_767_225_600 + n for n in range(10)} | {
    "2026-01-01T00:01:40Z": 1_767_225_700
}


def sent(lines: list[Line], since: str) -> bytes:
    """Return the stream of a node: lines with timestamps, without those before a second."""
    least = SECONDS[since] * 10**9 if since else 0
    return b"".join(line.shown for line in lines if line.moment[0] >= least)


def passed_on(resume: LineResume, lines: list[Line], breaks: list[tuple[int, int]]) -> bytes:
    """Return the result for a stream that breaks after so many bytes, fed in parts of a size."""
    found = b""
    for length, size in [*breaks, (10**6, 7)]:
        stream = sent(lines, resume.since)[:length]
        resume.reopen()
        for at in range(0, len(stream), size):
            found += resume.feed(stream[at : at + size])
    return found + resume.end()


def log_of(lines: list[Line]) -> bytes:
    return b"".join(line.text + b"\n" for line in lines)


@given(lines=LINES, breaks=BREAKS)
@settings(deadline=None, max_examples=500)
def test_with_any_breaks_and_timestamps_no_line_is_lost_or_repeated(
    lines: list[Line], breaks: list[tuple[int, int]]
) -> None:
    assert passed_on(LineResume(), lines, breaks) == log_of(lines)


@given(lines=LINES, breaks=BREAKS, seconds=st.integers(1, 3))
@settings(deadline=None, max_examples=500)
def test_with_increasing_timestamps_it_resumes_from_the_last_seconds(
    lines: list[Line], breaks: list[tuple[int, int]], seconds: int
) -> None:
    lines = sorted(lines, key=lambda line: line.moment[0])
    assert passed_on(LineResume(seconds=seconds), lines, breaks) == log_of(lines)


@given(lines=LINES, size=st.integers(1, 50))
def test_an_unbroken_stream_is_returned_whole(lines: list[Line], size: int) -> None:
    resume, stream = LineResume(seconds=1), sent(lines, "")
    found = b"".join(resume.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert found == log_of(lines)


@given(
    texts=st.lists(st.binary(max_size=12).map(lambda t: t.replace(b"\n", b".")), max_size=12),
    before=st.integers(0, 12),
    gone=st.integers(0, 12),
)
def test_a_rotated_log_loses_only_the_lines_of_the_old_file(
    texts: list[bytes], before: int, gone: int
) -> None:
    # All within a second: a rotation ends the stream while the program writes much.
    times = [1_767_225_601_000_000_000 + n for n in range(len(texts))]
    lines = [
        Line((time, b"2026-01-01T00:00:01.%09dZ" % (time % 10**9)), text)
        for time, text in zip(times, texts, strict=True)
    ]
    resume = LineResume(seconds=1)
    found = resume.feed(sent(lines[:before], ""))
    resume.reopen()
    found += resume.feed(sent(lines[gone:], resume.since))
    assert found == log_of(lines[:before] + lines[max(before, gone) :])


def test_it_resumes_from_the_counted_seconds() -> None:
    resume = LineResume(seconds=2)
    assert resume.since == ""
    resume.feed(b"2026-01-01T01:00:01.999000000+01:00 one\n")
    resume.feed(b"2026-01-01T00:00:02.500000000Z two\n")
    assert resume.since == ""
    resume.feed(b"2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z fo")
    assert resume.since == "2026-01-01T00:00:02Z"


def test_the_counts_of_a_log_are_bounded() -> None:
    resume = LineResume(seconds=3)
    for hour in range(24):
        for minute in range(60):
            resume.feed(b"2026-01-01T%02d:%02d:00.000000000Z x\n" % (hour, minute))
    assert len(resume) == 3


@pytest.mark.parametrize(
    "text",
    [
        b"failed to watch file: no space left on device\nx\n\n",
        b"2026 was a year\n",
        b"2026-01-01T00:00:00.000000000Znot\n",
        b"2026-99-01T00:00:00.000000000Z x\n",
        b"0" * 100,
    ],
)
def test_a_line_without_a_timestamp_is_returned_unchanged(text: bytes) -> None:
    resume = LineResume()
    assert resume.feed(text) + resume.end() == text


@pytest.mark.parametrize(
    "time",
    [b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:00.123456+00:00", b"2026-01-01T00:00:00.1Z"],
)
def test_a_timestamp_written_by_the_program_is_part_of_its_log(time: bytes) -> None:
    # A node without timestamps sends the log unchanged. Timestamps of kubelets always have nine digits.
    log = time + b" INFO begun\n" + time + b" INFO done\n"
    resume = LineResume()
    found = resume.feed(log[:40])
    resume.reopen()
    assert resume.since == ""
    assert found + resume.feed(log) + resume.end() == log


def test_the_rest_of_a_line_that_begins_a_stream_is_skipped() -> None:
    # A node stores long lines in pieces, each with its timestamp. Those before `sinceTime` are omitted, and
    # the next piece is sent without its timestamp.
    resume = LineResume(seconds=1)
    log = [b"2026-01-01T00:00:0%d.000000000Z %d\n" % (n, n) for n in range(1, 4)]
    found = b"".join(map(resume.feed, log[:2]))
    resume.reopen()
    assert resume.since == "2026-01-01T00:00:02Z"
    found += b"".join(map(resume.feed, [b"the rest of 1\n", *log[1:]]))
    assert found == b"1\n2\n3\n"


def test_text_that_cannot_be_a_timestamp_is_returned_at_once() -> None:
    assert LineResume().feed(b"3 of 4 ") == b"3 of 4 "
    assert LineResume().feed(b"loading") == b"loading"


@given(log=st.binary(max_size=200), breaks=st.lists(st.integers(0, 200), max_size=4))
@settings(deadline=None, max_examples=200)
def test_bytes_are_counted_if_no_line_has_a_timestamp(log: bytes, breaks: list[int]) -> None:
    resume, found = LineResume(), b""
    for length in [*breaks, len(log)]:
        resume.reopen()
        for at in range(0, min(length, len(log)), 7):
            found += resume.feed(log[at : min(at + 7, length)])
    assert found + resume.end() == log
