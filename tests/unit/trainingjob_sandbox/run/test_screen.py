"""The output of a run, as plain lines and on a terminal."""

import io
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from trainingjob_sandbox.run.live import LiveScreen, picture
from trainingjob_sandbox.run.screen import PlainScreen, open_screen
from trainingjob_sandbox.run.view import JobView, RankView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = JobView(
    "digits",
    phase="Running",
    attempt=1,
    restarts=1,
    ranks=(
        RankView(0, pod="digits-1-0", phase="Running", started=NOW - timedelta(seconds=7)),
        RankView(
            1,
            pod="digits-1-1",
            phase="Failed",
            exit_code=3,
            started=NOW - timedelta(seconds=7),
            ended=NOW - timedelta(seconds=3),
        ),
    ),
    troubles=("Unschedulable: 0/1 nodes are available",),
)


def drawn(view: JobView, *, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(picture(view, now=NOW))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_characters_that_the_terminal_cannot_show_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))

    open_screen().log(0, "h\xe9llo \N{SNOWMAN}")

    assert written.getvalue() == b"[0] h\xe9llo ?\n"


def test_plain_lines_carry_seconds_or_a_rank_and_no_escape_codes() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)

    screen.say("starting")
    screen.show(JobView("digits"))
    screen.log(1, "epoch 1/8")
    screen.show(RUNNING)
    screen.tick()
    screen.close()

    assert [re.sub(r"^ *[\d.]+ s", "T", line) for line in out.getvalue().splitlines()] == [
        "T  starting",
        "T  digits: Pending",
        "[1] epoch 1/8",
        "T  digits: attempt 1 starts",
        "T  digits: Running",
        "T  digits: Unschedulable: 0/1 nodes are available",
        "T  digits: rank 1 ended with exit code 3",
    ]


def test_an_unchanged_view_prints_nothing() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)
    screen.show(RUNNING)
    before = out.getvalue()

    screen.show(RUNNING)

    assert out.getvalue() == before


def test_the_picture_shows_job_troubles_and_a_row_for_each_rank() -> None:
    lines = [line.split() for line in drawn(RUNNING).splitlines() if line.strip()]

    assert lines == [
        ["digits", "Running", "attempt", "1", "restarts", "1"],
        ["Unschedulable:", "0/1", "nodes", "are", "available"],
        ["rank", "pod", "phase", "exit", "age"],
        ["0", "digits-1-0", "Running", "7", "s"],
        ["1", "digits-1-1", "Failed", "3", "4", "s"],
    ]


def test_the_picture_of_many_ranks_stays_small() -> None:
    many = JobView("digits", ranks=tuple(RankView(rank) for rank in range(1000)))

    text = drawn(many)

    assert len(text.splitlines()) < 24
    assert "and 984 more ranks" in text


def test_text_from_the_cluster_is_never_parsed_as_markup() -> None:
    hostile = JobView("digits", troubles=("[red]not red[/red] [/]",))

    assert "[red]not red[/red] [/]" in drawn(hostile)


def test_on_a_terminal_logs_scroll_above_and_the_last_table_is_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    screen = LiveScreen(console)

    screen.show(RUNNING)
    screen.log(0, "[bold]accuracy[/bold] 0.94")
    screen.close()
    screen.close()
    screen.say("the end")

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.index("[0] [bold]accuracy[/bold] 0.94") < text.rindex("digits-1-1")
    assert text.rindex("digits-1-1") < text.index("the end")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back
