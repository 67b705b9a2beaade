"""Training progress from the trainer's annotation, in the list and on the job's page."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.apiserver.api import ApiServerUnderTest, sandbox_api_server
from tests.support.apiserver.server_internals import put_raw
from tests.support.builders import make_job
from tests.support.console.browser import Tab, new_tab, wait_in
from tests.support.console.laptop import ConsoleProcess
from trainingjob_api.constants import ANNOTATION_PROGRESS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerUnderTest]:
    """Run an API server without an operator."""
    with sandbox_api_server(tmp_path) as made:
        yield made


@pytest.fixture
def tab(browser: Browser, server: ApiServerUnderTest, tmp_path: Path) -> Iterator[Tab]:
    with (
        ConsoleProcess(server.kubeconfig, tmp_path / "console.log") as console,
        new_tab(browser, console.url) as made,
    ):
        yield made
        assert made.complaints == []


def say(server: ApiServerUnderTest, progress: str, **status: Any) -> None:
    """Set the job's progress annotation, as a trainer does."""
    job = make_job("ours", namespace="team") | {"status": {"phase": "Running", **status}}
    job["metadata"] |= {
        "uid": "00000000-0000-4000-8000-000000000001",
        "annotations": {ANNOTATION_PROGRESS: progress},
    }
    server.inside.call(lambda inside: put_raw(inside.store, job))


def bar_of(page: Page) -> Locator:
    return page.get_by_role("main").get_by_role("progressbar", name="Progress")


def test_the_list_follows_the_steps_of_a_job_and_ignores_invalid_progress(
    tab: Tab, server: ApiServerUnderTest
) -> None:
    say(server, "1200/5000")
    page = tab.open("/jobs")
    row = page.get_by_role("row").filter(has_text="ours")
    expect(bar_of(page)).to_have_attribute("aria-valuenow", "1200")
    expect(row).to_contain_text("24%")
    say(server, "4999/5000")
    expect(row).to_contain_text("99%")
    tab.picture("progress-light-1280")
    say(server, "<img src=x onerror=alert(1)>/5000")
    expect(bar_of(page)).to_have_count(0)
    expect(row).to_contain_text("Running")
    say(server, "5000/5000")
    expect(row).to_contain_text("100%")
    say(server, "5000/5000", phase="Succeeded", completionTime="2026-01-31T12:00:00Z")
    expect(row).to_contain_text("Succeeded")
    expect(bar_of(page)).to_have_count(0)


def test_a_jobs_page_shows_the_remaining_time_once_it_has_seen_steps(
    tab: Tab, server: ApiServerUnderTest
) -> None:
    say(server, "1200/500000")
    page = tab.open("/jobs/team/ours")
    facts = page.locator("dl.facts > div").filter(has_text="Progress")
    expect(facts).to_contain_text("1,200 of 500,000 steps")
    expect(facts).not_to_contain_text("left")
    steps = count(1210, 10)

    def goes_on() -> bool:
        say(server, f"{next(steps)}/500000")
        page.wait_for_timeout(200)
        return "left" in (facts.text_content() or "")

    wait_in(page, goes_on)
    expect(facts).to_contain_text(re.compile(r"[\d.]+ steps/(s|min) · about \d+[dhm]"))
    tab.picture("progress-job-light-1280")
    say(server, "50/500000")  # a new attempt starts from a lower step
    expect(facts).to_contain_text("50 of 500,000 steps")
    expect(facts).not_to_contain_text("left")
    say(server, f"{next(steps)}/500000", phase="Failed", completionTime="2026-01-31T12:00:00Z")
    expect(page.locator(".job-title")).to_contain_text("Failed")
    expect(facts).to_have_count(0)
