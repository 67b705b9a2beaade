"""Log streams are split into printable lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_sandbox.run.log_lines import LogLineSplitter, printable


def test_lines_may_arrive_in_any_chunks() -> None:
    lines = LogLineSplitter()

    assert lines.feed(b"epo") == []
    assert lines.feed(b"ch 1\nepoch 2\nep") == ["epoch 1", "epoch 2"]
    assert lines.flush() == ["ep"]
    assert lines.flush() == []


def test_a_line_without_an_end_is_shown_in_pieces_of_bounded_size() -> None:
    lines = LogLineSplitter()

    shown = lines.feed(b"x" * 200_000)

    assert [len(line) for line in shown] == [65536] * 3
    assert "".join([*shown, *lines.flush()]) == "x" * 200_000


@pytest.mark.parametrize(
    ("line", "want"),
    [
        pytest.param(b"\x1b[1;32mgreen\x1b[0m", "green", id="colours"),
        pytest.param(b"\x1b]0;title\x07text", "text", id="window-title"),
        pytest.param(b" 10%\r 50%\r100%", "100%", id="progress-bar"),
        pytest.param(b"windows\r", "windows", id="carriage-return-at-the-end"),
        pytest.param(b"a\tb\x08c\x00", "a\tbc", id="control-characters"),
        pytest.param("Verlust ↓ ✓".encode(), "Verlust ↓ ✓", id="unicode"),
        pytest.param(b"\xff\xfe", "��", id="no-utf-8"),
    ],
)
def test_terminal_escapes_and_control_characters_are_removed(line: bytes, want: str) -> None:
    assert printable(line) == want


@given(st.binary(), st.integers(1, 20))
def test_the_chunk_size_does_not_change_the_lines(data: bytes, size: int) -> None:
    lines, whole = LogLineSplitter(), LogLineSplitter()

    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    got = [line for piece in pieces for line in lines.feed(piece)] + lines.flush()

    assert got == whole.feed(data) + whole.flush()
    assert not any(character < " " and character != "\t" for line in got for character in line)
