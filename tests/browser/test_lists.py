"""The list of jobs: long lists, and its filters while jobs change."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.apiserver.api import ApiServerUnderTest, sandbox_api_server
from tests.support.apiserver.server_internals import put_raw
from tests.support.builders import make_job
from tests.support.console.browser import new_tab
from tests.support.console.laptop import ConsoleProcess
from tests.support.console.wire import Wire
from tests.support.records.records import make_record
from tests.support.records.service import Client, RecordServiceProcess

MANY = 20_000  # as many as a console keeps in memory
IN_BOTH = 150
RECORDS = 300
NODES = 6_000
MIB_OF_HEAP = 60
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerUnderTest]:
    """Run an API server without an operator."""
    with sandbox_api_server(tmp_path) as made:
        yield made


def a_job(name: str, *, namespace: str = "team", **status: Any) -> dict[str, Any]:
    """Return a job with a status as written by an operator."""
    job = make_job(name, namespace=namespace, nodes=4)
    return job | {"status": {"phase": "Running", "startTime": time_of(hours=1), **status}}


def put(server: ApiServerUnderTest, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Store jobs; watchers see them."""
    return server.inside.call(lambda inside: [put_raw(inside.store, job) for job in jobs])


def change(server: ApiServerUnderTest, job: dict[str, Any], **status: Any) -> dict[str, Any]:
    """Store the job with another status."""
    [changed] = put(server, job | {"status": job["status"] | status})
    return changed


def time_of(**ago: float) -> str:
    """Return the timestamp of a moment this long ago."""
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_period_applies_to_rows_counts_and_later_changes(
    browser: Any, server: ApiServerUnderTest, tmp_path: Path
) -> None:
    [ended, runs] = put(
        server, a_job("ended", phase="Failed", completionTime=time_of(days=1)), a_job("runs")
    )
    with (
        ConsoleProcess(server.kubeconfig, tmp_path / "log") as console,
        new_tab(browser, console.url) as tab,
    ):
        wire = Wire(tab.page)
        earliest = time_of(hours=1, minutes=1)  # a page uses whole minutes
        page = tab.open("/jobs?period=1h")
        everything = page.get_by_role("group", name="Phase").get_by_role("button", name="All")
        expect(page.get_by_role("link", name="runs", exact=True)).to_be_visible()
        expect(everything).to_have_text("All1")
        asked = wire.subscription("jobs")
        change(server, ended, restarts=3)
        change(server, runs, phase="Restarting")
        expect(page.get_by_role("row").filter(has_text="Restarting")).to_have_count(1)
        expect(everything).to_have_text("All1")
        expect(page.get_by_role("button", name="new job")).to_have_count(0)
        expect(page.get_by_text("1 job", exact=True)).to_be_visible()
        assert earliest <= asked["filter"]["since"] <= time_of(hours=1)
        assert tab.complaints == []


def test_twenty_thousand_jobs_are_listed_once_each_in_little_memory(
    browser: Any, server: ApiServerUnderTest, tmp_path: Path
) -> None:
    count = MANY - IN_BOTH - 1
    jobs = put(
        server,
        *(
            a_job(f"job-{number:05d}", phase="Pending" if number % 9 else "Running")
            for number in range(count)
        ),
    )
    both = [
        a_job(f"both-{number:03d}", namespace="past", phase="Succeeded")
        for number in range(IN_BOTH)
    ]
    uids = [job["metadata"]["uid"] for job in put(server, *both)]
    records = RecordServiceProcess(tmp_path, f"sqlite:///{tmp_path}/records.db")
    with records:
        in_a_thread(put_records(records, uids))
        settings = {
            "TRAININGJOB_CONSOLE_CLUSTER_NAME": "lab",  # the cluster name in the records
            "TRAININGJOB_CONSOLE_RECORDS_URL": f"{records.url}/api/v1/jobs",
            "TRAININGJOB_CONSOLE_RECORDS_TOKEN_FILE": str(records.token_file),
        }
        with (
            ConsoleProcess(server.kubeconfig, tmp_path / "console.log", **settings) as console,
            new_tab(browser, console.url) as tab,
        ):
            page = tab.open("/jobs?sort=name&namespace=team")
            expect(
                page.get_by_text(f"100 of {count:,} in the cluster, and the history")
            ).to_be_visible()
            page.reload()
            expect(page.get_by_role("link", name="job-00000", exact=True)).to_be_visible()
            row_s = page.evaluate("() => performance.now()") / 1000
            paint_s = page.evaluate(PAINTED) / 1000
            nodes = page.evaluate("() => document.querySelectorAll('*').length")
            heap = tab.heap_mib()
            print(  # noqa: T201
                f"{MANY} jobs: first paint after {paint_s:.2f} s, the rows were there after "
                f"{row_s:.2f} s; {nodes} nodes, {heap:.1f} MiB of heap"
            )
            assert nodes < NODES
            assert heap < MIB_OF_HEAP
            expect_only_jobs_of_this_page_as_new(page, server, jobs)
            names = all_names(page, tab.open("/jobs?namespace=past"))
            assert len(names) == len(set(names)) == RECORDS
            assert tab.complaints == []


def expect_only_jobs_of_this_page_as_new(
    page: Page, server: ApiServerUnderTest, jobs: list[dict[str, Any]]
) -> None:
    """Check that a changed job of another page does not count as new, but a job created on this page does."""
    fresh = page.get_by_role("button", name="new job")
    change(server, jobs[-1], phase="Failed")
    change(server, jobs[0], phase="Failed")
    expect(page.get_by_role("row").filter(has_text="job-00000")).to_contain_text("Failed")
    expect(fresh).to_have_count(0)
    put(server, a_job("job-00000-b"))
    expect(fresh).to_have_text("1 new job · show it")


def all_names(page: Page, _: Page) -> list[str]:
    """Return the names on all pages of a list, from the first to the last."""
    names: list[str] = []
    following = page.get_by_role("button", name="Next page")
    while True:
        expect(page.locator("table[aria-busy]")).to_have_count(0)
        expect(page.locator("a.job-name").first).to_be_visible()
        names += page.locator("a.job-name").all_text_contents()
        if following.is_disabled():
            return names
        first = page.locator("a.job-name").first.text_content() or ""
        following.click()
        expect(page.locator("a.job-name").first).not_to_have_text(first)


async def put_records(service: RecordServiceProcess, live: list[str]) -> None:
    """Store records of these existing jobs, and of deleted ones."""
    await service.wait_until_ready()
    others = [f"00000000-0000-4000-8000-{n:012d}" for n in range(RECORDS - len(live))]
    async with Client(service.url) as client:
        for number, uid in enumerate([*live, *others]):
            name = f"{'both' if number < len(live) else 'past'}-{number:03d}"
            answer = await client.put(make_record(uid, namespace="past", name=name))
            assert answer.status == 200, answer


def in_a_thread(work: Any) -> None:
    """Run a coroutine in another thread: Playwright's event loop occupies this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
