"""Pages after an outage of the console, API server or network: complete, and without duplicates."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.apiserver.fault_proxy import FaultProxy
from tests.support.console.browser import new_tab
from tests.support.console.laptop import Laptop
from tests.support.console.viewer import expect_lines, open_log

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
FOR_EVER = "echo begun; exec sleep 1000"
SAYS = "seq 1 10; for n in 1 2 3; do while [ ! -e FLAG$n ]; do sleep 0.02; done; seq ${n}1 $((n+1))0; done; exec sleep 1000"
HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@contextmanager
def api_server_outage(server: FaultProxy) -> Iterator[None]:
    """Stop the API server's proxy within this context."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def expect_phase(page: Page, phase: str) -> None:
    """Expect this phase in the heading of a job's page."""
    expect(page.locator(".job-title").get_by_text(phase, exact=True)).to_be_visible()


def test_a_jobs_page_is_updated_after_a_restart_of_the_console(
    browser: Browser, laptop: Laptop
) -> None:
    name = laptop.apply(FOR_EVER, prefix="killed")["metadata"]["name"]
    with new_tab(browser, laptop.url) as tab:
        page = tab.open(f"/jobs/default/{name}")
        expect_phase(page, "Running")
        page.evaluate("window.loadedOnce = true")
        laptop.console.kill()
        expect(page.get_by_role("status").filter(has_text="Connection lost")).to_be_visible()
        laptop.suspend(name)
        laptop.console.start()
        expect_phase(page, "Suspended")
        laptop.console.kill()
        laptop.delete(name)
        laptop.console.start()
        expect(page.locator(".job-title").get_by_text("history", exact=True)).to_be_visible()
        assert page.evaluate("window.loadedOnce")


def test_a_jobs_page_is_updated_after_its_tab_was_hidden(browser: Browser, laptop: Laptop) -> None:
    name = laptop.apply(FOR_EVER, prefix="hidden")["metadata"]["name"]
    with new_tab(browser, laptop.url) as tab:
        tab.page.clock.install()
        page = tab.open(f"/jobs/default/{name}")
        expect_phase(page, "Running")
        page.evaluate(HIDE, True)
        page.clock.fast_forward(31_000)
        expect(page.get_by_text("Paused while this tab was hidden.")).to_be_visible()
        laptop.suspend(name)
        page.evaluate(HIDE, False)
        expect_phase(page, "Suspended")
        assert tab.complaints == []


def test_a_list_does_not_report_an_empty_cluster_before_the_first_listing(
    browser: Browser, laptop: Laptop
) -> None:
    name = laptop.apply(FOR_EVER, prefix="unlisted")["metadata"]["name"]
    laptop.console.kill()
    with new_tab(browser, laptop.url) as tab:
        with api_server_outage(laptop.api_server):
            laptop.console.start()
            page = tab.open("/jobs?text=unlisted")
            expect(page.get_by_role("heading", name="Reading the jobs")).to_be_visible()
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
        expect(page.get_by_role("row")).to_have_count(2)


def test_nothing_is_lost_or_duplicated_after_outages_of_each_component(
    browser: Browser, laptop: Laptop, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    job = laptop.apply(SAYS.replace("FLAG", str(flag)), prefix="says")
    other = laptop.apply(FOR_EVER, prefix="part")["metadata"]["name"]
    for name in (job["metadata"]["name"], other):
        laptop.wait_for(name, "Running")
    with new_tab(browser, laptop.url) as log_tab, new_tab(browser, laptop.url) as list_tab:
        log = open_log(log_tab, job, "rank=0")
        expect_lines(log, 10)
        page = list_tab.open("/jobs?text=part")
        expect(page.get_by_role("row").filter(has_text=other)).to_contain_text("Running")

        laptop.console.kill()
        Path(f"{flag}1").touch()
        laptop.suspend(other)
        laptop.console.start()
        expect_lines(log, 20)
        expect(page.get_by_role("row").filter(has_text=other)).to_contain_text("Suspended")

        with api_server_outage(laptop.api_server):
            Path(f"{flag}2").touch()
            laptop.wait_for(laptop.apply(FOR_EVER, prefix="part")["metadata"]["name"], "Running")
        expect_lines(log, 30)
        page.get_by_role("button", name="1 new job").click()
        expect(page.get_by_role("row")).to_have_count(3)

        laptop.records.kill()
        Path(f"{flag}3").touch()
        page.reload()
        expect(page.get_by_text("the record service cannot be queried")).to_be_visible()
        laptop.records.start()
        laptop.delete(other)
        page.reload()
        expect(page.get_by_role("row").filter(has_text=other)).to_contain_text("history")
        expect(page.get_by_role("row")).to_have_count(3)
        expect_lines(log, 40)
