"""Log-in and log-out in a browser: all tabs share one session."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, WebSocket, expect

from tests.support.apiserver.api import ApiServerUnderTest, sandbox_api_server
from tests.support.console.browser import PATIENCE_MS, wait_in
from tests.support.console.laptop import ConsoleProcess
from trainingjob_sandbox.apiserver.reviews import Account

TOKEN = "token-of-ada"


@dataclass(frozen=True)
class TokenConsole:
    """A console with token log-in, and its API server.

    Attributes:
        server: the API server, which authenticates the users.
        console: the console.
    """

    server: ApiServerUnderTest
    console: ConsoleProcess


@pytest.fixture
def token_console(tmp_path: Path) -> Iterator[TokenConsole]:
    with sandbox_api_server(tmp_path) as server:
        server.inside.server.accounts.by_token.update(
            {"admin": Account("admin"), TOKEN: Account("ada")}
        )
        settings = {"TRAININGJOB_CONSOLE_AUTH": "token"}
        with ConsoleProcess(server.kubeconfig, tmp_path / "log", **settings) as console:
            yield TokenConsole(server, console)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as made:
        made.set_default_timeout(PATIENCE_MS)
        yield made


def new_page(context: BrowserContext, token_console: TokenConsole) -> tuple[Page, list[WebSocket]]:
    """Return a tab, and the WebSockets that it opens."""
    page = context.new_page()
    sockets: list[WebSocket] = []

    def opened(each: WebSocket) -> None:  # Playwright does not accept bound methods of a list
        sockets.append(each)

    page.on("websocket", opened)
    page.goto(token_console.console.url)
    return page, sockets


def log_in(page: Page) -> None:
    """Log in, and wait for the list."""
    page.get_by_label("Your Kubernetes token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No training jobs yet")).to_be_visible()


def expect_all_closed(page: Page, sockets: list[WebSocket]) -> None:
    """Wait until the page has opened sockets, and all of them are closed."""
    wait_in(page, lambda: bool(sockets) and all(each.is_closed() for each in sockets))


def test_a_log_out_in_one_tab_logs_out_all_tabs(
    context: BrowserContext, token_console: TokenConsole
) -> None:
    first, _ = new_page(context, token_console)
    other, other_sockets = new_page(context, token_console)
    log_in(first)
    # Another tab with the log-in form is logged in, too.
    expect(other.get_by_role("heading", name="No training jobs yet")).to_be_visible()
    expect(other.get_by_text("ada", exact=True)).to_be_visible()
    first.get_by_role("button", name="Log out").click()
    for page in (first, other):
        expect(page.get_by_label("Your Kubernetes token")).to_be_focused()
        expect(page.get_by_text("ada", exact=True)).to_have_count(0)
        expect(page.get_by_role("heading", name="No training jobs yet")).to_have_count(0)
    expect_all_closed(other, other_sockets)  # the first tab has loaded a new page


def test_a_page_over_plain_http_does_not_ask_for_a_token(
    context: BrowserContext, token_console: TokenConsole
) -> None:
    page = context.new_page()
    asked: list[str] = []

    def noted(request: Request) -> None:
        asked.append(request.url)

    def served(route: Route) -> None:
        path = route.request.url.removeprefix("http://jobs.example.com")
        route.fulfill(response=route.fetch(url=token_console.console.url + path))

    page.on("request", noted)
    page.route("http://jobs.example.com/**", served)
    page.goto("http://jobs.example.com/jobs")
    alert = page.get_by_role("alert").filter(has_text="plain HTTP")
    expect(alert).to_contain_text("https://jobs.example.com")
    expect(alert).to_contain_text("kubectl port-forward")
    expect(page.get_by_label("Your Kubernetes token")).to_have_count(0)
    expect(page.get_by_role("button", name="Log in")).to_have_count(0)
    assert "http://jobs.example.com/api/session" in asked
    assert "http://jobs.example.com/api/login" not in asked


def test_a_page_asks_for_a_new_token_after_the_old_one_expired(
    context: BrowserContext, token_console: TokenConsole
) -> None:
    page, sockets = new_page(context, token_console)
    log_in(page)
    del token_console.server.inside.server.accounts.by_token[TOKEN]
    token_console.console.kill()
    expect(page.get_by_role("status").filter(has_text="Connection lost")).to_be_visible()
    token_console.console.start()
    expect(page.get_by_label("Your Kubernetes token")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="Connection lost")).to_be_hidden()
    expect_all_closed(page, sockets)
