"""The logs of several ranks as one: whole lines, each with its rank, in the order that they ended in."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_console.logs.merged import Merged
from trainingjob_console.logs.pieces import pieces_of
from trainingjob_console.sockets.budget import Budget
from trainingjob_console.sockets.log_ring import Gap, LogRing


def drained(ring: LogRing) -> bytes:
    found, at = b"", 0
    while (piece := ring.take()) is not None:
        assert not isinstance(piece, Gap)
        assert piece.offset == at
        at = piece.following
        found += str(json.loads(piece.text)).encode()
    assert at == len(found)
    return found


@given(parts=st.lists(st.tuples(st.integers(0, 2), st.text("aé\n", max_size=20)), max_size=30))
@settings(deadline=None, max_examples=300)
def test_no_line_is_lost_or_mixed_with_another(parts: list[tuple[int, str]]) -> None:
    ring = LogRing(2**20, 10_000, Budget(2**20))
    merged = Merged(ring)
    mouths = [merged.of_rank(rank) for rank in range(3)]
    logs = ["", "", ""]
    for rank, text in parts:
        for piece in pieces_of(len(logs[rank].encode()), text.encode()):
            mouths[rank].put(piece)
        logs[rank] += text
    for mouth in mouths:
        mouth.close()
    lines = drained(ring).decode().split("\n")[:-1]
    for rank, log in enumerate(logs):
        prefix = f"[rank {rank}] "
        expected = log.split("\n")
        if not expected[-1]:
            expected.pop()
        assert [line.removeprefix(prefix) for line in lines if line.startswith(prefix)] == expected


def test_a_line_without_an_end_is_broken_and_not_kept_for_ever() -> None:
    ring = LogRing(2**20, 10_000, Budget(2**20))
    mouth = Merged(ring).of_rank(0)
    for piece in pieces_of(0, b"y" * 100_000):
        mouth.put(piece)
    mouth.close()
    lines = drained(ring).split(b"\n")[:-1]
    assert b"".join(line.removeprefix(b"[rank 0] ") for line in lines) == b"y" * 100_000
    assert max(map(len, lines)) <= 2 * 16_384 + len(b"[rank 0] ")


def test_there_is_room_for_all_ranks_or_for_none() -> None:
    ring = LogRing(1000, 10, Budget(2**20))
    merged = Merged(ring)
    one, other = merged.of_rank(0), merged.of_rank(1)
    assert one.has_room
    assert other.has_room
    for piece in pieces_of(0, b"x\n" * 8):
        one.put(piece)
    assert not one.has_room
    assert not other.has_room
