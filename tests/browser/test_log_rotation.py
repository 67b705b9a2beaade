"""Log rotation by the node: the page continues in the new file, with few requests."""

import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.console.browser import Tab, new_tab, wait_in
from tests.support.console.laptop import Laptop
from tests.support.console.viewer import open_log
from tests.support.console.wire import Frame, Wire

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
SAYS = (
    # The node keeps 5 to 10 MiB: during the second part it drops more than is written.
    "seq -f 'first %099.0f' 85000; echo end one; while [ ! -e {flag}1 ]; do sleep 0.05; done; "
    "seq -f 'second %099.0f' 30000; echo end two; while [ ! -e {flag}2 ]; do sleep 0.05; done; "
    "echo end three; exec sleep 1000"
)
MOST_READS = 12


def test_a_reloaded_page_continues_in_the_new_file(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    """The console's stream began before the rotation, so its offsets are those of the old file."""
    wire, frames = Wire(tab.page), list[Frame]()

    def note(frame: Frame) -> list[Frame]:
        frames.append(frame)
        return [frame]

    job = laptop.apply(SAYS.replace("{flag}", str(tmp_path / "flag")), prefix="long")
    laptop.wait_for(job["metadata"]["name"], "Running")
    page = open_log(tab, job, "rank=0")
    log = page.get_by_role("log")
    expect(log).to_contain_text("end one")
    (tmp_path / "flag1").touch()
    expect(log).to_contain_text("end two")
    reads = reads_of(page)
    wire.change = note
    page.reload()
    expect(log).to_contain_text("end two")
    (tmp_path / "flag2").touch()
    expect(log).to_contain_text("end three")
    wait_in(page, lambda: any("end three" in frame.get("text", "") for frame in frames))
    assert [frame for frame in frames if frame["type"] == "gap"] == []
    assert len(reads) < MOST_READS


def test_a_page_that_reconnects_continues_in_the_new_file(
    browser: Browser, laptop: Laptop, tmp_path: Path
) -> None:
    """The page's offset is one of the old file, which the restarted console does not follow."""
    job = laptop.apply(SAYS.replace("{flag}", str(tmp_path / "flag")), prefix="back")
    laptop.wait_for(job["metadata"]["name"], "Running")
    with new_tab(browser, laptop.url) as tab:
        page = open_log(tab, job, "rank=0")
        log = page.get_by_role("log")
        expect(log).to_contain_text("end one")
        laptop.console.kill()
        expect(page.get_by_role("status").filter(has_text="Connection lost")).to_be_visible()
        (tmp_path / "flag1").touch()
        reads = reads_of(page)
        laptop.console.start()
        expect(log).to_contain_text("end two")
        (tmp_path / "flag2").touch()
        expect(log).to_contain_text("end three")
        assert len(reads) < MOST_READS


def reads_of(page: Page) -> list[str]:
    """Return a list to which the URL of every later log request of the page is added."""
    found: list[str] = []
    page.on("request", lambda each: found.append(each.url) if "offset=" in each.url else None)
    return found
