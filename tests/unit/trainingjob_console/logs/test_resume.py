"""However often a stream breaks, and wherever: what is passed on is the log."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.logs.resume import LineResume

TIMES = [
    b"2026-01-01T00:00:00.1Z",
    b"2026-01-01T00:00:00.123456789Z",
    b"2026-01-01T00:00:00.2Z",
    b"2026-01-01T00:00:01Z",
    b"2026-01-01T00:00:01.5Z",
    b"2026-01-01T00:00:02.000000001Z",
]
LINE = st.tuples(
    st.sampled_from(TIMES), st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"."))
)


def since(lines: list[tuple[bytes, bytes]], second: str) -> bytes:
    """As the API server sends it: whole lines, each with its time, from a second on."""
    return b"".join(t + b" " + text + b"\n" for t, text in lines if t[:19] >= second[:19].encode())


@given(
    lines=st.lists(LINE, max_size=12).map(
        lambda found: sorted(found, key=lambda line: TIMES.index(line[0]))
    ),
    breaks=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 50)), max_size=6),
)
@settings(deadline=None, max_examples=400)
def test_whatever_breaks_nothing_is_lost_or_doubled(
    lines: list[tuple[bytes, bytes]], breaks: list[tuple[int, int]]
) -> None:
    resume, found = LineResume(), b""
    for length, size in [*breaks, (10**6, 7)]:
        stream = since(lines, resume.since)[:length]
        resume.reopen()
        for at in range(0, len(stream), size):
            found += resume.feed(stream[at : at + size])
    assert found == b"".join(text + b"\n" for _, text in lines)


def test_it_goes_on_from_the_second_of_the_last_line() -> None:
    resume = LineResume()
    assert resume.since == ""
    resume.feed(b"2026-01-01T00:00:01.999Z one\n2026-01-01T00:00:02.5Z tw")
    assert resume.since == "2026-01-01T00:00:01Z"


def test_a_line_without_a_time_is_passed_on() -> None:
    text = b"failed to watch file: no space left on device\nx\n\n"
    assert LineResume().feed(text) == text


@given(log=st.binary(max_size=200), breaks=st.lists(st.integers(0, 200), max_size=4))
@settings(deadline=None, max_examples=200)
def test_where_no_line_has_a_time_bytes_are_counted(log: bytes, breaks: list[int]) -> None:
    resume, found = LineResume(), b""
    for length in [*breaks, len(log)]:
        resume.reopen()
        for at in range(0, min(length, len(log)), 7):
            found += resume.feed(log[at : min(at + 7, length)])
    assert log.startswith(found)
    assert len(log) - len(found) <= 40  # what may yet become a time
