"""The log viewer while attempts end and new ones start."""

import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.console.browser import Tab, new_tab, wait_in
from tests.support.console.laptop import ConsoleProcess, Laptop
from tests.support.console.viewer import lines_of, open_log

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
SAYS = (
    "echo attempt $TRAININGJOB_ATTEMPT; while [ ! -e {flag}$TRAININGJOB_ATTEMPT ]; do sleep 0.02; done; "
    "echo end; [ $TRAININGJOB_ATTEMPT = 1 ]"
)


def says(flag: Path) -> str:
    """Return a script for two attempts: each waits for its flag file, and the second one succeeds."""
    return SAYS.replace("{flag}", str(flag))


def open_first_attempt(tab: Tab, job: dict[str, Any]) -> Page:
    """Open the log of rank 0 with its first line, such that the page needs no further request when the pod is deleted."""
    page = open_log(tab, job, "rank=0")
    wait_in(page, lambda: lines_of(page) == ["attempt 0"])
    page.reload()  # so that the page gets the name of the log file together with the existing lines
    wait_in(page, lambda: lines_of(page) == ["attempt 0"])
    return page


def test_the_log_of_a_rank_ends_with_its_attempt_and_the_page_offers_the_next_attempt(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    job = laptop.apply(says(tmp_path / "flag"), prefix="rank")
    laptop.wait_for(job["metadata"]["name"], "Running")
    page = open_first_attempt(tab, job)
    (tmp_path / "flag0").touch()
    offer = page.get_by_role("button", name="Attempt 2 is live")
    expect(offer).to_be_visible()
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
    assert lines_of(page) == ["attempt 0", "end"]
    offer.click()
    wait_in(page, lambda: lines_of(page) == ["attempt 1"])
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(offer).to_be_hidden()
    assert "source=live%3A1%3A0%3Amain" in page.url
    (tmp_path / "flag1").touch()
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
    wait_in(page, lambda: lines_of(page) == ["attempt 1", "end"])
    page.go_back()
    wait_in(page, lambda: lines_of(page) == ["attempt 0", "end"])


def test_a_log_without_an_archive_is_shown_as_ended(
    browser: Browser, laptop: Laptop, tmp_path: Path
) -> None:
    job = laptop.apply(says(tmp_path / "flag"), prefix="ended")
    laptop.wait_for(job["metadata"]["name"], "Running")
    without = ConsoleProcess(laptop.api_server.kubeconfig, tmp_path / "console.log")
    with without, new_tab(browser, without.url) as tab:
        page = open_first_attempt(tab, job)
        (tmp_path / "flag0").touch()
        expect(page.get_by_text("Ended", exact=True)).to_be_visible()
        offer = page.get_by_role("button", name="Attempt 2 is live")
        expect(offer).to_be_visible()
        assert lines_of(page) == ["attempt 0", "end"]
        offer.click()
        wait_in(page, lambda: lines_of(page) == ["attempt 1"])
        assert tab.complaints == []
    (tmp_path / "flag1").touch()


def test_merged_logs_continue_live_with_the_next_attempt_after_archived_ones(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    """The page is opened while no rank is running."""
    job = laptop.apply(says(tmp_path / "flag"), prefix="resumed", nodes=2)
    name = job["metadata"]["name"]
    laptop.wait_for(name, "Running")
    page = open_log(tab, job, "source=merged")
    wait_in(page, lambda: lines_of(page) == ["attempt 0"] * 2)
    laptop.suspend(name)
    page.reload()
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
    wait_in(page, lambda: lines_of(page) == ["attempt 0"] * 2)
    laptop.resume(name)
    wait_in(page, lambda: lines_of(page) == ["attempt 1"] * 2)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    (tmp_path / "flag1").touch()
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
    lines = ["attempt 0", "attempt 1", "end"] * 2
    wait_in(page, lambda: sorted(lines_of(page)) == sorted(lines))


def test_a_page_opened_before_the_first_pod_shows_its_logs_later(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    job = laptop.apply(says(tmp_path / "flag"), prefix="early", nodes=2, suspend=True)
    laptop.wait_for(job["metadata"]["name"], "Suspended")
    page = open_log(tab, job, "source=merged")
    expect(page.get_by_text("no log has been written or archived")).to_be_visible()
    laptop.resume(job["metadata"]["name"])
    wait_in(page, lambda: len(lines_of(page)) == 2)
    for attempt in range(2):
        (tmp_path / f"flag{attempt}").touch()
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
