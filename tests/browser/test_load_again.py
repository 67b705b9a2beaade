"""A page whose load or subscription has failed goes on by itself, and asks more and more seldom."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.apiserver.api import ApiServerUnderTest, sandbox_api_server
from tests.support.apiserver.server_internals import put_raw
from tests.support.builders import make_job
from tests.support.console.browser import new_tab, wait_in
from tests.support.console.laptop import ConsoleProcess
from tests.support.console.wire import Frame, Wire

LIST = "**/api/jobs?*"
ONE = "**/api/jobs/*"
LOADS = 5
MANY = 100
"""Failures, of which the rest is taken back when what they lead to has been seen."""
FIRST_PAUSE_S = 0.5
"""At least, and doubled from one load to the next."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerUnderTest]:
    """An API server whose jobs nobody runs."""
    with sandbox_api_server(tmp_path) as made:
        yield made


@pytest.fixture
def console(server: ApiServerUnderTest, tmp_path: Path) -> Iterator[ConsoleProcess]:
    with ConsoleProcess(server.kubeconfig, tmp_path / "console.log") as made:
        yield made


@pytest.fixture
def page(browser: Browser, console: ConsoleProcess) -> Iterator[Page]:
    with new_tab(browser, console.url) as tab:
        yield tab.open("/about")


def open_page(page: Page, path: str) -> None:
    """Load this page of the console that the tab is of."""
    page.goto(page.url.removesuffix("/about") + path)


def put(server: ApiServerUnderTest, phase: str) -> dict[str, Any]:
    """Store the job, or its new phase."""
    job = make_job("ours", namespace="team") | {"status": {"phase": phase}}
    job["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001"
    found: dict[str, Any] = server.inside.call(lambda inside: put_raw(inside.store, job))
    return found


def shows(page: Page, phase: str) -> None:
    """The row, or the head of the job's page, says this."""
    row = page.locator("tr[data-uid], .job-title").filter(has_text="ours")
    expect(row).to_contain_text(phase)


def failing(statuses: list[int]) -> Callable[[Route], None]:
    """Answer the next requests with these, and let the others through."""

    def answer(route: Route) -> None:
        if not statuses:
            route.fallback()
            return
        status = statuses.pop(0)
        error = {"reason": "Staged", "message": f"staged: it does not work now ({status})"}
        route.fulfill(status=status, json={"error": error})

    return answer


def refuse(wire: Wire, kind: str) -> None:
    """End what the page has subscribed to with an error, as a console does that is too busy."""
    number = wire.subscription(kind)["id"]

    def without(frame: Frame) -> list[Frame]:
        return [] if frame.get("id") == number else [frame]

    wire.change = without
    words = {"reason": "ServiceUnavailable", "message": "staged: too busy"}
    wire.sockets[-1].send(json.dumps({"type": "error", "id": number, **words}))


@pytest.mark.parametrize("status", [500, 503])
def test_a_list_that_could_not_be_loaded_is_loaded_again_and_followed(
    page: Page, server: ApiServerUnderTest, status: int
) -> None:
    put(server, "Running")
    statuses = [status] * MANY
    page.route(LIST, failing(statuses))
    open_page(page, "/jobs")
    problem = page.get_by_text("staged: it does not work now")
    expect(problem).to_be_visible()
    wait_in(page, lambda: len(statuses) <= MANY - 2)
    statuses.clear()
    shows(page, "Running")
    expect(problem).to_be_hidden()
    put(server, "Suspended")
    shows(page, "Suspended")


def test_a_list_says_why_it_is_not_asked_for_again_whatever_it_said_before(
    page: Page, server: ApiServerUnderTest
) -> None:
    put(server, "Running")
    statuses = [503] * MANY
    page.route(LIST, failing(statuses))
    open_page(page, "/jobs")
    expect(page.get_by_text("staged: it does not work now (503)")).to_be_visible()
    statuses[:] = [400]
    expect(page.get_by_text("staged: it does not work now (400)")).to_be_visible()


def test_a_page_of_which_a_part_did_not_come_is_loaded_again(
    page: Page, server: ApiServerUnderTest
) -> None:
    """The network changed, as chromium says, and then the console was one of another version."""
    put(server, "Running")
    failures: list[Callable[[Route], None]] = [
        lambda route: route.abort("failed"),
        lambda route: route.fulfill(status=404, json={"error": {"message": "no such file"}}),
    ] * MANY
    all_of_them = len(failures)

    def fail(route: Route) -> None:
        if failures:
            failures.pop(0)(route)
        else:
            route.fallback()

    page.route("**/static/*/keyed.js", fail)
    open_page(page, "/jobs")
    expect(page.get_by_text("A part of this page failed to load.")).to_be_visible()
    wait_in(page, lambda: len(failures) <= all_of_them - 2)
    failures.clear()
    shows(page, "Running")
    expect(page.get_by_text("A part of this page failed to load.")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0


def test_a_list_that_the_page_filters_wrongly_is_not_asked_for_again(
    page: Page, server: ApiServerUnderTest
) -> None:
    put(server, "Running")
    statuses = [400, 400]
    page.clock.install()
    page.route(LIST, failing(statuses))
    open_page(page, "/jobs")
    expect(page.get_by_text("staged: it does not work now")).to_be_visible()
    page.clock.run_for(120_000)
    page.evaluate("() => new Promise((resolve) => requestAnimationFrame(resolve))")
    assert statuses == [400]
    expect(page.get_by_role("link", name="ours", exact=True)).to_have_count(0)


@pytest.mark.parametrize(
    ("path", "kind", "asked"), [("/jobs", "jobs", LIST), ("/jobs/team/ours", "job", ONE)]
)
def test_what_can_no_longer_be_followed_is_loaded_again_and_followed(
    page: Page, server: ApiServerUnderTest, *, path: str, kind: str, asked: str
) -> None:
    put(server, "Running")
    wire = Wire(page)
    open_page(page, path)
    shows(page, "Running")
    held: list[Route] = []

    def hold(route: Route) -> None:  # Playwright takes no method of a list
        held.append(route)

    page.route(asked, hold)
    refuse(wire, kind)
    problem = page.get_by_text("staged: too busy")
    expect(problem).to_be_visible()
    put(server, "Suspended")
    page.unroute(asked, hold)
    for route in held:
        route.continue_()
    shows(page, "Suspended")
    expect(problem).to_be_hidden()
    put(server, "Failed")
    shows(page, "Failed")


@pytest.fixture
def other(server: ApiServerUnderTest, tmp_path: Path) -> Iterator[ConsoleProcess]:
    """Another console of the same cluster."""
    with ConsoleProcess(server.kubeconfig, tmp_path / "other.log") as made:
        yield made


@pytest.mark.parametrize(
    ("path", "asked"), [("/jobs", LIST), ("/jobs/team/ours", ONE)], ids=["list", "job"]
)
def test_a_page_between_two_consoles_asks_more_and_more_seldom(
    server: ApiServerUnderTest, page: Page, other: ConsoleProcess, path: str, asked: str
) -> None:
    put(server, "Running")
    consoles = [page.url.removesuffix("/about"), other.url]
    times: list[float] = []

    def from_one(route: Route) -> None:
        times.append(time.monotonic())
        address = route.request.url.replace(consoles[0], consoles[-1])
        route.fulfill(response=route.fetch(url=address))

    page.route(asked, from_one)
    open_page(page, path)
    wait_in(page, lambda: len(times) >= LOADS)
    consoles.pop()
    pauses = [after - before for before, after in pairwise(times)]
    least = [FIRST_PAUSE_S * 2**number for number in range(len(pauses))]
    assert all(pause >= wanted for pause, wanted in zip(pauses, least, strict=True)), pauses
    put(server, "Suspended")
    shows(page, "Suspended")
