"""The log viewer shows every line once and in order despite gaps, races, reconnects and new attempts."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.console.browser import Tab, new_tab, wait_in
from tests.support.console.laptop import Laptop
from tests.support.console.viewer import expect_lines, lines_of, open_log
from tests.support.console.wire import Frame, Wire
from trainingjob_api.log_sections import Section, prefix_of

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
SAYS = (
    "seq 1 10; while [ ! -e {flag}1 ]; do sleep 0.02; done; seq 11 20; "
    "while [ ! -e {flag}2 ]; do sleep 0.02; done; seq 21 30; exec sleep 1000"
)
ALL_RANKS = (
    # The first seven lines exceed the console's replay buffer for pages that subscribe later.
    "say() { for n in $(seq $1 $2); do printf 'r%s %s %012000d\\n' $RANK $n 0; done; }; say 1 7; "
    "while [ ! -e {flag}1 ]; do sleep 0.02; done; say 8 10; "
    "while [ ! -e {flag}2 ]; do sleep 0.02; done; say 11 12; exec sleep 1000"
)
ATTEMPTS = (
    "rank=${HOSTNAME##*-}; echo attempt $TRAININGJOB_ATTEMPT rank $rank; "
    "while [ ! -e {flag}$TRAININGJOB_ATTEMPT ]; do sleep 0.02; done; "
    "[ $TRAININGJOB_ATTEMPT = 2 ]"
)
LINES = 400_000
KEPT = 100_000


def with_gaps_for(text: str) -> Callable[[Frame], list[Frame]]:
    """Replace log frames that contain a text with gap frames, as the console does for a slow page."""

    def change(frame: Frame) -> list[Frame]:
        if frame["type"] != "log" or text not in frame["text"]:
            return [frame]
        lines = frame["text"].count("\n")
        place = {"from": frame["offset"], "to": frame["next"], "lines": lines}
        return [{"type": "gap", "id": frame["id"], **place}]

    return change


def test_lines_skipped_for_a_slow_page_are_loaded_by_request(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    wire = Wire(tab.page)
    wire.change = with_gaps_for("11\n")
    job = laptop.apply(SAYS.replace("{flag}", str(tmp_path / "flag")), prefix="gap")
    laptop.wait_for(job["metadata"]["name"], "Running")
    page = open_log(tab, job, "rank=0")
    expect_lines(page, 10)
    (tmp_path / "flag1").touch()
    expect_lines(page, 20)
    (tmp_path / "flag2").touch()
    expect_lines(page, 30)


def test_a_part_missing_between_load_and_subscription_is_loaded(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    """The page gets no live frame for a part of the log, and loads this part by a request."""
    dropped: list[Frame] = []

    def drop(frame: Frame) -> list[Frame]:
        if "11\n" not in frame.get("text", ""):
            return [frame]
        dropped.append(frame)
        return []

    Wire(tab.page).change = drop
    job = laptop.apply(SAYS.replace("{flag}", str(tmp_path / "flag")), prefix="hole")
    laptop.wait_for(job["metadata"]["name"], "Running")
    page = open_log(tab, job, "rank=0")
    expect_lines(page, 10)
    (tmp_path / "flag1").touch()
    wait_in(page, lambda: bool(dropped))
    (tmp_path / "flag2").touch()
    expect_lines(page, 30)


def test_a_rank_selected_during_the_load_of_another_is_the_only_one_followed(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    wire = Wire(tab.page)
    flag = str(tmp_path / "flag")
    job = laptop.apply(SAYS.replace("{flag}", flag), prefix="chosen", nodes=2)
    laptop.wait_for(job["metadata"]["name"], "Running")
    held: list[Route] = []

    def hold(each: Route) -> None:  # Playwright does not accept bound methods of a list
        held.append(each)

    tab.page.route(re.compile(r"/logs/live%3A0%3A0%3Amain\?"), hold)
    page = open_log(tab, job, "rank=0")
    choice = page.get_by_role("combobox", name="Log")
    expect(choice).to_have_value("live:0:0:main")
    choice.select_option("live:0:1:main")
    expect_lines(page, 10)
    [first] = held
    first.continue_()
    Path(f"{flag}1").touch()
    expect_lines(page, 20)
    assert [frame["source"] for frame in wire.subscriptions("logs")] == ["live:0:1:main"]


def expect_ranks(page: Page, last: int) -> None:
    """Expect the lines 1 to `last` of two ranks, each line once and in order within its rank."""

    def shown() -> list[list[int]]:
        lines = [line.split() for line in lines_of(page)]
        return [[int(n) for of, n, _ in lines if of == f"r{rank}"] for rank in range(2)]

    wait_in(page, lambda: shown() == [list(range(1, last + 1))] * 2)


def test_merged_logs_continue_after_a_reconnect_and_keep_earlier_lines(
    browser: Browser, laptop: Laptop, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    job = laptop.apply(
        ALL_RANKS.replace("{flag}", str(flag)), prefix="merged", nodes=2, framework="Torch"
    )
    laptop.wait_for(job["metadata"]["name"], "Running")
    with new_tab(browser, laptop.url) as tab:
        wire = Wire(tab.page)
        page = open_log(tab, job, "source=merged")
        expect_ranks(page, 7)
        wire.subscription("logs")  # it subscribes once it shows the existing lines
        wire.sockets[-1].close()
        Path(f"{flag}1").touch()
        expect_ranks(page, 10)
        laptop.console.kill()
        Path(f"{flag}2").touch()
        laptop.console.start()
        expect_ranks(page, 12)
        assert page.locator(".line .gap").count() == 0


def expect_sorted(page: Page, lines: list[str]) -> None:
    """Wait for these lines, in any order."""
    wait_in(page, lambda: sorted(lines_of(page)) == lines)


def test_merged_logs_continue_with_the_pods_of_each_new_attempt(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    """All pods are replaced twice; the page reconnects during the second attempt."""
    flag = tmp_path / "flag"
    job = laptop.apply(ATTEMPTS.replace("{flag}", str(flag)), prefix="again", nodes=2)
    laptop.wait_for(job["metadata"]["name"], "Running")
    wire = Wire(tab.page)
    page = open_log(tab, job, "source=merged")
    written: list[str] = []
    for attempt in range(3):
        written += [f"attempt {attempt} rank {rank}" for rank in range(2)]
        expect_sorted(page, written)
        if attempt == 1:
            wire.sockets[-1].close()
        Path(f"{flag}{attempt}").touch()
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
    expect_sorted(page, written)


def test_a_link_to_an_offset_of_a_live_log_works_in_a_truncated_archive(
    tab: Tab, laptop: Laptop
) -> None:
    job = laptop.apply("echo short", prefix="cut")
    laptop.wait_for(job["metadata"]["name"], "Succeeded")
    uid = job["metadata"]["uid"]
    places = write_cut_archive(laptop.volume / f"job_{uid}.log")
    page = open_log(tab, job, f"source=live:0:0:main&at={places[LINES - 50_000]}")
    expect(page.locator(".target .text")).to_have_text(f"step {LINES - 50_000}")
    expect(page.get_by_text("the beginning was not kept")).to_be_visible()
    page = open_log(tab, job, f"source=live:0:0:main&at={places[10]}")
    expect(page.get_by_text("which was not kept")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text(f"step {LINES - KEPT}")


def test_a_link_into_the_live_log_of_an_earlier_attempt_leads_to_its_archive(
    tab: Tab, laptop: Laptop
) -> None:
    job = laptop.apply("echo short", prefix="earlier")
    laptop.wait_for(job["metadata"]["name"], "Succeeded")
    sections = b""
    for attempt in range(2):
        section = Section(attempt=attempt, rank=0, pod="5f0c2d7e")
        body = prefix_of(0) + b"of attempt %d\n" % attempt
        sections += section.header + body + section.trailer(len(body), 0, running=False)
    (laptop.volume / f"job_{job['metadata']['uid']}.log").write_bytes(sections)
    page = open_log(tab, job, "source=live:0:0:main")
    wait_in(page, lambda: lines_of(page) == ["of attempt 0"])
    page = open_log(tab, job, "rank=0")
    wait_in(page, lambda: lines_of(page) == ["of attempt 1"])


def write_cut_archive(path: Path) -> list[int]:
    """Write an archive with only the last lines of a log; return the offset of each line in the live log."""
    prefix = prefix_of(0)
    lines = [b"step %d\n" % number for number in range(LINES)]
    places = [0]
    for line in lines:
        places.append(places[-1] + len(line))
    body = b"".join(prefix + line for line in lines[-KEPT:])
    section = Section(attempt=0, rank=0, pod="5f0c2d7e")
    trailer = section.trailer(len(body), places[-1 - KEPT], running=False)
    path.write_bytes(section.header + body + trailer)
    return places
