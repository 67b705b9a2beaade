"""Pages retry a failed load or subscription by themselves, with exponential back-off."""

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
"""Number of failures; a test removes the remaining ones once it has seen their effect."""
FIRST_PAUSE_S = 0.5
"""The minimum pause after the first load; it doubles with each load."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerUnderTest]:
    """Run an API server without an operator."""
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
    """Open a path on the console of this tab."""
    page.goto(page.url.removesuffix("/about") + path)


def put(server: ApiServerUnderTest, phase: str) -> dict[str, Any]:
    """Store the job with this phase."""
    job = make_job("ours", namespace="team") | {"status": {"phase": phase}}
    job["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001"
    found: dict[str, Any] = server.inside.call(lambda inside: put_raw(inside.store, job))
    return found


def expect_shown_phase(page: Page, phase: str) -> None:
    """Expect this phase in the job's row or in the heading of its page."""
    row = page.locator("tr[data-uid], .job-title").filter(has_text="ours")
    expect(row).to_contain_text(phase)


def failing(statuses: list[int]) -> Callable[[Route], None]:
    """Return a route handler that responds to the next requests with these statuses and forwards the others."""

    def answer(route: Route) -> None:
        if not statuses:
            route.fallback()
            return
        status = statuses.pop(0)
        error = {"reason": "Staged", "message": f"staged: it does not work now ({status})"}
        route.fulfill(status=status, json={"error": error})

    return answer


def refuse(wire: Wire, kind: str) -> None:
    """End the page's subscription with an error, as a console that is too busy does."""
    number = wire.subscription(kind)["id"]

    def without(frame: Frame) -> list[Frame]:
        return [] if frame.get("id") == number else [frame]

    wire.change = without
    words = {"reason": "ServiceUnavailable", "message": "staged: too busy"}
    wire.sockets[-1].send(json.dumps({"type": "error", "id": number, **words}))


@pytest.mark.parametrize("status", [500, 503])
def test_a_failed_load_of_the_list_is_retried_and_then_followed(
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
    expect_shown_phase(page, "Running")
    expect(problem).to_be_hidden()
    put(server, "Suspended")
    expect_shown_phase(page, "Suspended")


def test_a_permanent_error_replaces_the_message_of_an_earlier_temporary_one(
    page: Page, server: ApiServerUnderTest
) -> None:
    put(server, "Running")
    statuses = [503] * MANY
    page.route(LIST, failing(statuses))
    open_page(page, "/jobs")
    expect(page.get_by_text("staged: it does not work now (503)")).to_be_visible()
    statuses[:] = [400]
    expect(page.get_by_text("staged: it does not work now (400)")).to_be_visible()


def test_a_page_is_reloaded_if_one_of_its_modules_failed_to_load(
    page: Page, server: ApiServerUnderTest
) -> None:
    """First the request fails with a network error, then with 404, as from a console of another version."""
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
    expect_shown_phase(page, "Running")
    expect(page.get_by_text("A part of this page failed to load.")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0


def test_a_list_with_an_invalid_filter_is_not_retried(
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
def test_a_page_reloads_its_data_when_its_subscription_is_ended_by_an_error(
    page: Page, server: ApiServerUnderTest, *, path: str, kind: str, asked: str
) -> None:
    put(server, "Running")
    wire = Wire(page)
    open_page(page, path)
    expect_shown_phase(page, "Running")
    held: list[Route] = []

    def hold(route: Route) -> None:  # Playwright does not accept bound methods of a list
        held.append(route)

    page.route(asked, hold)
    refuse(wire, kind)
    problem = page.get_by_text("staged: too busy")
    expect(problem).to_be_visible()
    put(server, "Suspended")
    page.unroute(asked, hold)
    for route in held:
        route.continue_()
    expect_shown_phase(page, "Suspended")
    expect(problem).to_be_hidden()
    put(server, "Failed")
    expect_shown_phase(page, "Failed")


@pytest.fixture
def other(server: ApiServerUnderTest, tmp_path: Path) -> Iterator[ConsoleProcess]:
    """Run another console of the same cluster."""
    with ConsoleProcess(server.kubeconfig, tmp_path / "other.log") as made:
        yield made


@pytest.mark.parametrize(
    ("path", "asked"), [("/jobs", LIST), ("/jobs/team/ours", ONE)], ids=["list", "job"]
)
def test_a_page_alternating_between_two_consoles_backs_off_exponentially(
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
    expect_shown_phase(page, "Suspended")
