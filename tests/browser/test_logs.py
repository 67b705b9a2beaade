"""The log viewer in a real browser: live, archived and large logs, and unusual text."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.console.browser import Tab
from tests.support.console.laptop import Laptop
from trainingjob_api.log_sections import Section, prefix_of

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)

STRANGE = (
    "printf '\\033[31mred\\033[0m plain\\n'; for n in 1 2 3; do printf '\\r%s%%' $n; done; echo; "
    "printf '<b>not bold</b>\\n'; head -c 2000000 /dev/zero | tr '\\0' y; echo; "
    "echo waits; while [ ! -e {flag} ]; do sleep 0.05; done; seq 1 3000; echo 'ERROR: the end'; exit 0"
)
SECTIONS = 10
SECTION_BYTES = 10 * 2**20
MIB_OF_HEAP = 150


def open_log(tab: Tab, job: dict[str, Any], rank: int = 0) -> Page:
    """Open the viewer of one rank's log."""
    meta = job["metadata"]
    return tab.open(f"/jobs/default/{meta['name']}/logs?uid={meta['uid']}&rank={rank}")


def test_a_followed_log_continues_in_the_archive_without_a_reload(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    job = laptop.apply(STRANGE.replace("{flag}", str(flag)), prefix="log", nodes=2)
    name = job["metadata"]["name"]
    page = tab.open("/jobs?text=log")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Running")
    page = open_log(tab, job, 1)
    log = page.get_by_role("log")
    expect(log).to_contain_text("waits")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.evaluate("window.loadedOnce = true")
    page.get_by_role("button", name="Start").click()
    expect(log.locator(".c1", has_text="red")).to_be_visible()
    expect(log.get_by_text("<b>not bold</b>")).to_be_visible()
    expect(log.get_by_text("%")).to_have_text("3%")
    expect(log).to_contain_text(re.compile(r"y … \d+ bytes more: download"))
    tab.picture("log-live-light-1280")
    page.get_by_role("button", name="Follow").click()
    expect(log).to_contain_text("waits")
    flag.touch()
    expect(log).to_contain_text("ERROR: the end")
    expect(page.get_by_text("Archived", exact=True)).to_be_visible()
    expect(log).to_contain_text("ERROR: the end")
    expect(page).to_have_url(re.compile("source=archive%3A0%3A1%3Amain"))
    page.get_by_role("button", name="Start").click()
    expect(log.get_by_text("<b>not bold</b>")).to_be_visible()
    page.reload()
    expect(log).to_contain_text("ERROR: the end")
    page.get_by_role("searchbox", name="Search in the log").fill("1999")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 hit", exact=True)).to_be_visible()
    expect(log.locator(".target")).to_have_text("1999")
    page.get_by_role("button", name="First error").click()
    expect(log.locator(".target")).to_have_text("ERROR: the end")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_url("**at=*")
    page.reload()
    expect(log.locator(".target")).to_have_text("ERROR: the end")
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="Download").click()
    text = Path(downloaded.value.path()).read_text()
    assert text.endswith("2999\n3000\nERROR: the end\n")
    assert text.count("y") == 2_000_000
    page.get_by_role("combobox", name="Log").select_option("merged")
    expect(log).to_contain_text("attempt 0 rank")


def test_a_hundred_megabytes_of_log_are_read_in_little_memory(tab: Tab, laptop: Laptop) -> None:
    job = laptop.apply("echo short", prefix="huge")
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    page = tab.open(f"/jobs/default/{name}")
    expect(page.get_by_role("main").get_by_text("Succeeded", exact=True).first).to_be_visible()
    write_archive(laptop.volume / f"job_{uid}.log")
    page = tab.open(f"/jobs/default/{name}/logs?uid={uid}&source=merged")
    where = page.locator(".log-where")
    expect(where).to_have_text(re.compile(r"1\d\d MiB of 1\d\d MiB"))
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("log")).to_contain_text("step 0 of section 0")
    for _ in range(40):
        page.evaluate("document.querySelector('.log').scrollBy(0, 40000)")
        page.wait_for_function("new Promise((done) => requestAnimationFrame(() => done(true)))")
    place = page.get_by_role("slider", name="Position in the log")
    place.evaluate("(each) => { each.value = 550; each.dispatchEvent(new Event('change')); }")
    expect(page.get_by_role("log")).to_contain_text("of section 5")
    heap = tab.heap_mib()
    nodes = page.locator(".line").count()
    print(f"the heap has {heap:.1f} MiB, the page {nodes} lines")  # noqa: T201
    assert heap < MIB_OF_HEAP
    assert nodes < 150
    tab.picture("log-huge-light-1280")


def write_archive(path: Path) -> None:
    """Replace a job's archive with one of the maximum size for ten ranks."""
    with path.open("wb") as file:
        for rank in range(SECTIONS):
            section = Section(attempt=0, rank=rank, pod="5f0c2d7e")
            prefix = prefix_of(rank)
            count = SECTION_BYTES // 60
            lines = (
                b"%sstep %d of section %d".ljust(59) % (prefix, n, rank) + b"\n"
                for n in range(count)
            )
            body = b"".join(lines)
            file.write(section.header + body + section.trailer(len(body), 0, running=False))
