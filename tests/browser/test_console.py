"""The console's page in a real browser, before a real console, operator and node."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.apiserver.api import sandbox_api_server
from tests.support.builders import make_job
from tests.support.console.browser import Tab, new_tab
from tests.support.console.laptop import ConsoleProcess, Laptop, speak
from trainingjob_sandbox.apiserver.reviews import Account
from trainingjob_sandbox.client import ApiClient

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
COUNTS = "i=0; while [ ! -e {flag} ]; do echo line $i; i=$((i+1)); sleep 0.05; done; echo bye"
OFFLINE = re.compile(r"ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE|WebSocket is closed")
"""A browser's message if the console was killed."""

FOR_EVER = "echo begun; exec sleep 1000"


def row_of(page: Page, name: str) -> Locator:
    """Return the row of a job in the list."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def test_an_empty_cluster_shows_how_to_create_a_first_job(tab: Tab) -> None:
    page = tab.open("/")
    expect(page.get_by_role("heading", name="No training jobs yet")).to_be_visible()
    expect(page.get_by_text("kubectl apply -f manifests/samples/digits.yaml")).to_be_visible()
    tab.picture("empty-light-1280")


def test_the_list_can_be_used_with_the_keyboard_alone(tab: Tab, laptop: Laptop) -> None:
    names = [laptop.apply(FOR_EVER, prefix=each)["metadata"]["name"] for each in ("alpha", "beta")]
    for name in names:  # a job created later appears only after a click on a button
        laptop.wait_for(name, "Running")
    page = tab.open("/jobs?sort=name")
    for name in names:
        expect(row_of(page, name)).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name=names[0], exact=True)).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name=names[1], exact=True)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("x")
    expect(page.get_by_role("checkbox", name=f"Select {names[0]}")).to_be_checked()
    expect(page.get_by_role("region", name="Selected jobs")).to_contain_text("1 job selected")
    page.keyboard.press("/")
    page.keyboard.type("beta")
    expect(row_of(page, names[0])).to_have_count(0)
    expect(page).to_have_url(f"{laptop.url}/jobs?sort=name&text=beta")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text(
        "Go to Housekeeping"
    )
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=names[1], level=1)).to_be_visible()
    page.go_back()
    expect(row_of(page, names[1])).to_be_visible()
    expect(page.get_by_role("searchbox", name="Search in names")).to_have_value("beta")
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(row_of(page, names[0])).to_be_visible()


def test_the_url_contains_the_whole_state_of_the_list(tab: Tab, laptop: Laptop) -> None:
    name = laptop.apply(FOR_EVER, prefix="gamma")["metadata"]["name"]
    page = tab.open("/jobs?text=gamma&sort=created&namespace=default")
    expect(row_of(page, name)).to_be_visible()
    head = page.get_by_role("columnheader", name="Created", exact=True)
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    page.get_by_role("columnheader", name="Name").get_by_role("button").click()
    expect(page).to_have_url(f"{laptop.url}/jobs?text=gamma&namespace=default&sort=name")
    expect(page.get_by_role("combobox", name="Namespace")).to_have_value("default")
    page.get_by_role("searchbox", name="Search in names").fill("no such job")
    expect(page.get_by_role("heading", name="No job matches")).to_be_visible()
    page.get_by_role("button", name="Clear all filters").click()
    expect(row_of(page, name)).to_be_visible()
    expect(page).to_have_url(f"{laptop.url}/jobs")


def test_a_chosen_theme_is_stored(tab: Tab) -> None:
    page = tab.open("/jobs")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) != light


def test_creation_and_phases_of_a_job_are_shown_without_a_reload(
    tab: Tab, laptop: Laptop, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    page = tab.open("/jobs?text=counts")
    expect(page.get_by_role("heading", name="No job matches")).to_be_visible()
    page.evaluate("window.loadedOnce = true")
    script = COUNTS.replace("{flag}", str(flag))
    name = laptop.apply(script, prefix="counts", nodes=2)["metadata"]["name"]
    row = row_of(page, name)
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("2/2")
    page.get_by_role("link", name=name, exact=True).click()
    head = page.get_by_role("main")
    expect(head.get_by_role("heading", name=name)).to_be_visible()
    flag.touch()
    expect(head.get_by_text("Succeeded", exact=True).first).to_be_visible()
    expect(page.get_by_role("table", name="Ranks").get_by_role("row")).to_have_count(3)
    expect(head.get_by_role("listitem").filter(has_text="Complete").first).to_be_visible()
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    page.get_by_role("link", name="Manifest").click()
    expect(page.get_by_label("Manifest", exact=True).last).to_contain_text("numNodes: 2")
    assert page.evaluate("window.loadedOnce")


def test_new_jobs_appear_only_after_a_click_and_do_not_move_rows(tab: Tab, laptop: Laptop) -> None:
    first = laptop.apply(FOR_EVER, prefix="order")["metadata"]["name"]
    page = tab.open("/jobs?text=order")
    expect(row_of(page, first)).to_contain_text("Running")
    second = laptop.apply(FOR_EVER, prefix="order")["metadata"]["name"]
    fresh = page.get_by_role("button", name="1 new job")
    expect(fresh).to_be_visible()
    expect(row_of(page, second)).to_have_count(0)
    fresh.click()
    expect(row_of(page, second)).to_be_visible()
    expect(fresh).to_be_hidden()


def test_suspend_and_resume_explain_their_effect_before_they_are_confirmed(
    tab: Tab, laptop: Laptop
) -> None:
    name = laptop.apply(FOR_EVER, prefix="pause", nodes=2)["metadata"]["name"]
    page = tab.open("/jobs?text=pause")
    row = row_of(page, name)
    expect(row).to_contain_text("Running")
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Suspend …").click()
    dialog = page.get_by_role("dialog", name=f"Suspend {name}?")
    expect(dialog.get_by_role("listitem")).to_contain_text("pods")
    tab.picture("dialog-light-1280")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert not laptop.job(name)["spec"].get("suspend")
    page.get_by_role("button", name="Suspend …").click()
    dialog.get_by_role("button", name="Suspend", exact=True).click()
    expect(row).to_contain_text("Suspended")
    assert laptop.job(name)["spec"]["suspend"]
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("main").get_by_text("Running", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("searchbox", name="Search in names")).to_be_visible()
    # Its row is marked as deleted, or it shows its record: the actions are no longer offered.
    expect(page.get_by_role("checkbox", name=f"Select {name}", disabled=False)).to_have_count(0)


def test_a_page_reports_a_killed_console_and_reconnects_without_a_reload(
    browser: Browser, laptop: Laptop
) -> None:
    name = laptop.apply(FOR_EVER, prefix="lost")["metadata"]["name"]
    with new_tab(browser, laptop.url) as tab:
        page = tab.open("/jobs?text=lost")
        expect(row_of(page, name)).to_contain_text("Running")
        page.evaluate("window.loadedOnce = true")
        laptop.console.kill()
        lost = page.get_by_role("status").filter(has_text="Connection lost")
        expect(lost).to_be_visible()
        tab.picture("lost-light-1280")
        laptop.suspend(name)
        laptop.console.start()
        expect(lost).to_be_hidden()
        expect(row_of(page, name)).to_contain_text("Suspended")
        expect(page.get_by_role("row")).to_have_count(2)
        assert page.evaluate("window.loadedOnce")
        assert [text for text in tab.complaints if not OFFLINE.search(text)] == []


def test_each_user_sees_and_does_only_what_is_permitted(browser: Browser, tmp_path: Path) -> None:
    with sandbox_api_server(tmp_path) as server:
        speak(server.kubeconfig, two_jobs)
        server.inside.server.accounts.by_token.update(
            {
                "admin": Account("admin"),  # the user of the console's kubeconfig
                "token-of-ada": Account("ada"),
                "token-of-rita": Account(
                    "rita", namespaces=frozenset({"one"}), verbs=frozenset({"get", "list"})
                ),
            }
        )
        settings = {"TRAININGJOB_CONSOLE_AUTH": "token"}
        with ConsoleProcess(server.kubeconfig, tmp_path / "console.log", **settings) as console:
            with new_tab(browser, console.url) as ada, new_tab(browser, console.url) as rita:
                page = log_in(ada, "token-of-ada")
                expect(row_of(page, "job-in-one")).to_be_visible()
                expect(row_of(page, "job-in-two")).to_be_visible()
                page.get_by_role("link", name="job-in-two", exact=True).click()
                expect(page.get_by_role("button", name="Suspend")).to_be_visible()
                page = log_in(rita, "token-of-rita")
                expect(row_of(page, "job-in-one")).to_be_visible()
                expect(row_of(page, "job-in-two")).to_have_count(0)
                page.get_by_role("link", name="job-in-one", exact=True).click()
                expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
                expect(page.get_by_role("button", name="Suspend")).to_have_count(0)
                expect(page.get_by_role("button", name="Delete")).to_have_count(0)
                page.get_by_role("button", name="Log out").click()
                expect(page.get_by_label("Your Kubernetes token")).to_be_focused()
                page.reload()
                expect(page.get_by_label("Your Kubernetes token")).to_be_visible()
                assert not [text for text in ada.complaints + rita.complaints if "CSP" in text]
            assert "token-of-" not in console.log()


def log_in(tab: Tab, token: str) -> Page:
    """Log in with a valid token, after an attempt with an unknown one."""
    page = tab.open("/jobs")
    field = page.get_by_label("Your Kubernetes token")
    field.fill("nonsense")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text=re.compile("."))).to_be_visible()
    tab.picture("login-light-1280")
    field.fill(token)
    page.keyboard.press("Enter")
    return page


async def two_jobs(client: ApiClient) -> dict[str, Any]:
    """Create one job in each of two namespaces."""
    for name in ("one", "two"):
        core = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await client.create("/api/v1/namespaces", core)
        path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{name}/trainingjobs"
        job = await client.create(path, make_job(f"job-in-{name}", namespace=name))
    return job
