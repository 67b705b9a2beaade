"""Pages state nothing about users and jobs that the console does not know."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.apiserver.api import ApiServerUnderTest, sandbox_api_server
from tests.support.apiserver.server_internals import put_raw
from tests.support.builders import make_job
from tests.support.console.browser import new_tab
from tests.support.console.laptop import ConsoleProcess
from trainingjob_sandbox.apiserver.reviews import Account

USERS = {
    "admin": Account("admin"),
    "token-of-ada": Account("ada", namespaces=frozenset({"team"})),
    "token-of-rita": Account("rita", namespaces=frozenset({"without-jobs"})),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServerUnderTest]:
    """Run an API server with one job whose logs are archived."""
    with sandbox_api_server(tmp_path) as made:
        made.inside.server.accounts.by_token.update(USERS)
        status = {
            "phase": "Succeeded",
            "completionTime": "2026-01-31T12:00:00Z",
            "logs": {"path": "team/ours", "bytes": 10},
        }
        job = make_job("ours", namespace="team") | {"status": status}
        made.inside.call(lambda inside: put_raw(inside.store, job))
        yield made


@pytest.fixture
def page(browser: Browser, server: ApiServerUnderTest, tmp_path: Path) -> Iterator[Page]:
    """Yield a page of a console, not logged in."""
    auth = {"TRAININGJOB_CONSOLE_AUTH": "token"}
    with (
        ConsoleProcess(server.kubeconfig, tmp_path / "console.log", **auth) as console,
        new_tab(browser, console.url) as tab,
    ):
        yield tab.open("/")


def open_as(page: Page, user: str, path: str) -> None:
    """Log in, and open this page."""
    page.goto(page.url.removesuffix("/") + path)
    page.get_by_label("Your Kubernetes token").fill(f"token-of-{user}")
    page.keyboard.press("Enter")


@pytest.mark.parametrize(
    ("user", "words"),
    [("ada", "team"), ("rita", "none of the namespaces that have live jobs now")],
)
def test_the_about_page_names_namespaces_with_live_jobs_without_denying_access_to_others(
    page: Page, user: str, words: str
) -> None:
    open_as(page, user, "/about")
    seen = page.locator("dl.facts > div").filter(has_text="Visible namespaces")
    expect(seen.locator("dd")).to_have_text(words)


def test_the_day_shown_for_a_jobs_files_is_the_earliest_day_of_their_deletion(page: Page) -> None:
    open_as(page, "ada", "/jobs/team/ours")
    files = page.locator("section").filter(has=page.get_by_role("heading", name="Files"))
    expect(files).to_contain_text("removed by age on or after 7 Feb 2026")
