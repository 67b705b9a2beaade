"""A library that repeats itself does not fill the log; our own lines are always written."""

import logging

from trainingjob_operator.logging_setup import LINES, LibraryLimit


def record(name: str, at: float, text: str = "accept() failed on %s") -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, "x.py", 1, text, ("fd=7",), None)
    made.created = at
    return made


def written(limit: LibraryLimit, records: list[logging.LogRecord]) -> list[str]:
    return [each.getMessage() for each in records if limit.filter(each)]


def test_a_library_writes_limited_lines_a_minute_and_reports_the_dropped_ones() -> None:
    limit = LibraryLimit()
    lines = written(limit, [record("asyncio", 1000.0 + n / 1000) for n in range(5000)])
    assert len(lines) == LINES
    assert lines[-1].endswith("(further lines of asyncio are dropped for a minute)")
    later = written(limit, [record("asyncio", 1060.0), record("asyncio", 1060.1)])
    assert later[0] == f"accept() failed on fd=7 ({5000 - LINES} lines of asyncio were dropped)"
    assert later[1] == "accept() failed on fd=7"


def test_one_library_does_not_silence_another() -> None:
    limit = LibraryLimit()
    written(limit, [record("asyncio", 1000.0)] * 5000)
    assert written(limit, [record("kopf.objects", 1001.0)])


def test_our_own_lines_are_all_written() -> None:
    ours = [record("trainingjob_operator.retention.job_deleter", 1000.0) for _ in range(5000)]
    assert len(written(LibraryLimit(), ours)) == 5000


def test_a_clock_that_is_set_back_does_not_silence_a_library_for_ever() -> None:
    limit = LibraryLimit()
    written(limit, [record("asyncio", 10_000.0) for _ in range(5000)])
    assert written(limit, [record("asyncio", 500.0)])


def test_it_remembers_so_many_loggers_and_no_more() -> None:
    limit = LibraryLimit()
    written(limit, [record(f"library-{n}", 1000.0) for n in range(10_000)])
    assert len(limit._minutes) <= 256
