"""Reads the log viewer of the page."""

from typing import Any

from playwright.sync_api import Page, expect

from tests.support.console.browser import Tab


def open_log(tab: Tab, job: dict[str, Any], rest: str) -> Page:
    """Open the logs of a job; the rest of the URL has the source and the position."""
    meta = job["metadata"]
    return tab.open(f"/jobs/default/{meta['name']}/logs?uid={meta['uid']}&{rest}")


def lines_of(page: Page) -> list[str]:
    """Return the lines that are drawn: all, of a short log."""
    return page.get_by_role("log").locator(".line .text").all_text_contents()


def expect_lines(page: Page, last: int) -> None:
    """Expect the lines of `seq 1 LAST`, each once and in their order."""
    lines = page.get_by_role("log").locator(".line .text")
    expect(lines).to_have_text([str(number) for number in range(1, last + 1)])
