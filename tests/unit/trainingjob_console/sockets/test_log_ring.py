"""Every byte of a log is returned once, in order, or is in the gap that is reported before later chunks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.sockets.budget import Budget
from trainingjob_console.sockets.log_ring import LOSS_REASONS, Gap, LogChunk, LogRing, Losses

LIMIT, LINES = 2000, 8


def piece(offset: int, size: int) -> LogChunk:
    return LogChunk(offset, offset + size, 1, '"' + "x" * size + '"')


@given(
    steps=st.lists(
        st.one_of(st.integers(1, 700), st.sampled_from(["take", "cut", "skip"])), max_size=60
    )
)
@settings(deadline=None, max_examples=150)
def test_all_bytes_are_returned_once_or_are_in_a_gap(steps: list[int | str]) -> None:
    budget = Budget(10 * LIMIT)
    losses = Losses()
    ring = LogRing(LIMIT, LINES, budget, losses=losses)
    written = read = lines = 0
    gaps: list[Gap] = []

    def take() -> bool:
        nonlocal read, lines
        found = ring.take()
        if found is None:
            return False
        if isinstance(found, Gap):
            gaps.append(found)
        start, end = (
            (found.start, found.end)
            if isinstance(found, Gap)
            else (found.offset, found.next_offset)
        )
        assert start == read
        read, lines = end, lines + found.lines
        return True

    skipped = 0
    puts = 0
    for step in steps:
        if isinstance(step, int):
            ring.put(piece(written, step))
            written += step
            puts += 1
        elif step == "skip":
            ring.skip(written, written + 100)
            written += 100
            skipped += 1
        elif step == "cut":
            ring.cut()
            assert ring.size == 0
        else:
            take()
        assert ring.size == budget.used
        assert len(ring) <= LINES
        assert ring.size <= LIMIT or len(ring) == 1
    while take():
        pass
    assert ring.is_empty
    assert (read, lines) == (written, puts)
    assert len(gaps) >= min(skipped, 1)
    assert losses.gaps.total() == len(gaps)
    assert losses.lines.total() == sum(gap.lines for gap in gaps)
    assert set(losses.gaps) | set(losses.lines) <= set(LOSS_REASONS)


def test_the_gap_is_returned_before_all_queued_chunks() -> None:
    losses = Losses()
    ring = LogRing(LIMIT, LINES, Budget(10 * LIMIT), losses=losses)
    for n in range(20):
        ring.put(piece(n * 10, 10))
    assert ring.take() == Gap(0, 120, 12)
    assert ring.take() == piece(120, 10)
    assert (losses.gaps, losses.lines) == ({"slow": 1}, {"slow": 12})


def test_above_the_budget_the_largest_queue_is_cut() -> None:
    budget, losses = Budget(3000), Losses()
    small, large = (LogRing(10_000, 100, budget, losses=losses) for _ in range(2))
    small.put(piece(0, 500))
    for n in range(4):
        large.put(piece(n * 600, 600))
    assert large.take() == Gap(0, 2400, 4)
    assert small.take() == piece(0, 500)
    assert budget.cuts == 1
    assert (losses.gaps, losses.lines) == ({"memory": 1}, {"memory": 4})
    small.close()
    large.close()
    assert (budget.used, len(budget)) == (0, 0)


def test_each_new_entry_wakes_the_writer() -> None:
    calls: list[str] = []
    ring = LogRing(LIMIT, LINES, Budget(LIMIT), lambda: calls.append("put"))
    ring.put(piece(0, 5))
    ring.skip(5, 9)
    assert calls == ["put", "put"]


def test_a_page_that_cannot_catch_up_is_counted_with_its_queued_lines() -> None:
    losses = Losses()
    ring = LogRing(LIMIT, LINES, Budget(10 * LIMIT), losses=losses)
    ring.put(piece(0, 10))
    ring.skip(10, 90)
    assert ring.take() == Gap(0, 90, 1)
    assert (losses.gaps, losses.lines) == ({"behind": 1}, {"behind": 1})


@pytest.mark.parametrize("half", [900, 1100])
def test_a_catch_up_waits_until_half_of_the_ring_is_free(half: int) -> None:
    ring = LogRing(LIMIT, LINES, Budget(10 * LIMIT))
    ring.put(piece(0, half - 122))
    assert ring.has_room == (half < LIMIT / 2)


def test_chunks_after_the_end_are_not_charged_to_the_budget() -> None:
    # A follower that is being stopped may still add a chunk.
    budget = Budget(LIMIT)
    ring = LogRing(LIMIT, LINES, budget)
    ring.close()
    ring.put(piece(0, 500))
    ring.skip(500, 600)
    assert (budget.used, len(budget), ring.is_empty) == (0, 0, True)
