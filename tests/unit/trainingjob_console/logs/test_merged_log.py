"""Merged logs: whole lines, each prefixed with its rank, in the order of their ends."""

import json
from collections.abc import Iterable
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.logs.chunks import split_chunks
from trainingjob_console.logs.merged_log import MergedLog, RankLines, parse_positions
from trainingjob_console.logs.pods import PodLog
from trainingjob_console.sockets.budget import Budget
from trainingjob_console.sockets.log_ring import LogChunk, LogRing

RANKS = 3
UID = "5f0c2d7e-1b2a-4c3d-8e4f-000000000000"


def log_of(rank: int, uid: str = UID) -> PodLog:
    return PodLog(
        namespace="ml",
        pod=f"pod-{rank}",
        uid=uid,
        rank=rank,
        attempt=0,
        container="main",
        source_container="main",
        has_started=True,
        has_ended=False,
    )


def pieces_in(ring: LogRing) -> list[LogChunk]:
    """Remove and return all chunks."""
    found = []
    while (piece := ring.take()) is not None:
        assert isinstance(piece, LogChunk)
        found.append(piece)
    return found


def text_of(pieces: Iterable[LogChunk], start: int = 0) -> str:
    """Return the text of consecutive chunks."""
    text, at = "", start
    for piece in pieces:
        assert piece.offset == at
        at = piece.next_offset
        text += str(json.loads(piece.text))
    return text


def lines_of(text: str, rank: int) -> list[str]:
    """Return the lines of a rank."""
    prefix = f"[rank {rank}] "
    return [line.removeprefix(prefix) for line in text.split("\n") if line.startswith(prefix)]


def write(mouth: RankLines, log: bytes, offset: int = 0) -> None:
    for piece in split_chunks(offset, log[offset:]):
        mouth.put(piece)


@given(parts=st.lists(st.tuples(st.integers(0, 2), st.text("aé\n", max_size=20)), max_size=30))
@settings(deadline=None, max_examples=300)
def test_no_line_is_lost_or_mixed_with_another(parts: list[tuple[int, str]]) -> None:
    ring = LogRing(2**20, 10_000, Budget(2**20))
    merged = MergedLog(ring)
    mouths = [merged.of(log_of(rank)) for rank in range(RANKS)]
    logs = [b""] * RANKS
    for rank, text in parts:
        offset = len(logs[rank])
        logs[rank] += text.encode()
        write(mouths[rank], logs[rank], offset)
    for mouth in mouths:
        mouth.close()
    text = text_of(pieces_in(ring))
    for rank, log in enumerate(logs):
        expected = log.decode().split("\n")
        if not expected[-1]:
            expected.pop()
        assert lines_of(text, rank) == expected


WORDS = st.sampled_from([b"a", "é".encode(), b"\xff", b"\n", b"\r", b"y" * 9_000, b"\n" * 40])


@given(
    parts=st.lists(st.tuples(st.integers(0, 2), st.lists(WORDS, max_size=9)), max_size=20),
    taken=st.integers(0, 30),
)
@settings(deadline=None, max_examples=300)
def test_a_page_that_reconnects_with_its_positions_gets_the_rest_once(
    parts: list[tuple[int, list[bytes]]], taken: int
) -> None:
    ring = LogRing(2**24, 100_000, Budget(2**24))
    merged = MergedLog(ring)
    mouths = [merged.of(log_of(rank)) for rank in range(RANKS)]
    logs = [b""] * RANKS
    for rank, words in parts:
        offset = len(logs[rank])
        logs[rank] += b"".join(words)
        write(mouths[rank], logs[rank], offset)
    seen = list(islice(pieces_in(ring), taken))
    places = parse_positions(piece.place for piece in seen)
    first = text_of(seen)

    again = MergedLog(ring, len(first.encode()))
    for rank, log in enumerate(logs):
        place = places.get(rank)
        assert place is None or place.is_in(log_of(rank))
        offset = place.offset if place is not None else 0
        mouth = again.of(log_of(rank))
        write(mouth, log, offset)
        mouth.close()
    text = first + text_of(pieces_in(ring), len(first.encode()))
    for rank, log in enumerate(logs):
        # A line that exceeds the buffer is split; the position depends on its chunks.
        assert "".join(lines_of(text, rank)) == log.decode("utf-8", "replace").replace("\n", "")
        if len(log) < 9_000:
            assert lines_of(text, rank) == log.decode("utf-8", "replace").removesuffix("\n").split(
                "\n"
            ) or (not log and not lines_of(text, rank))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0:0:a",
        "0:0:a:",
        "0:0:a:-1",
        "x:0:a:1",
        "0:a:a:1",
        "0:0:a:1:2",
        "0:0:A:1",
        "\u0660:0:a:1",
        "0:0:a:1\n",
    ],
)
def test_malformed_positions_are_skipped(text: str) -> None:
    assert parse_positions([text, "1:0:5f0c2d7e:7"]).keys() == {1}


def test_a_position_belongs_to_one_pod() -> None:
    place = parse_positions([f"1:0:{UID[:8]}:7"])[1]
    assert place.offset == 7
    assert place.is_in(log_of(1))
    assert not place.is_in(log_of(2))
    assert not place.is_in(log_of(1, "0" + UID[1:]))


def test_a_line_without_an_end_is_split_and_not_buffered_for_ever() -> None:
    ring = LogRing(2**20, 10_000, Budget(2**20))
    mouth = MergedLog(ring).of(log_of(0))
    write(mouth, b"y" * 100_000)
    mouth.close()
    lines = text_of(pieces_in(ring)).split("\n")[:-1]
    assert "".join(line.removeprefix("[rank 0] ") for line in lines) == "y" * 100_000
    assert max(map(len, lines)) <= 2 * 16_384 + len("[rank 0] ")


def test_all_ranks_share_the_room_of_the_ring() -> None:
    ring = LogRing(1000, 10, Budget(2**20))
    merged = MergedLog(ring)
    one, other = merged.of(log_of(0)), merged.of(log_of(1))
    assert one.has_room
    assert other.has_room
    write(one, b"x\n" * 8)
    assert not one.has_room
    assert not other.has_room
