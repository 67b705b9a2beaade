"""The page in a browser: console and operator have the chart's rights, on a cluster that enforces them."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from hack.cluster.control_plane import ControlPlane
from tests.charts.test_account import account_namespace, asked, refused, requests_of
from tests.charts.test_console_account import CONSOLE, JOBS, make_user
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.console.browser import PATIENCE_MS, running_browser_of_a_loop
from tests.support.console.laptop import ConsoleProcess
from tests.support.processes.operator import OperatorProcess
from tests.support.real.chart import account_kubeconfig

__all__ = ["account_namespace"]  # a fixture

pytestmark = pytest.mark.real_only

ANYTHING = re.compile(".")


def row_of(page: Page, name: str) -> Locator:
    """Return the row of a job in the list."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def phase_of(page: Page, phase: str) -> Locator:
    """Return the element on a job's page that shows this phase."""
    return page.get_by_role("main").get_by_text(phase, exact=True).first


async def log_in(browser: Browser, url: str, token: str) -> Page:
    """Log in in a new browser context, and wait for the empty list."""
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto(f"{url}/jobs")
    field = page.get_by_label("Your Kubernetes token")
    await field.fill("nonsense")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert").filter(has_text=ANYTHING)).to_be_visible()
    await field.fill(token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="No training jobs yet")).to_be_visible()
    await page.evaluate("window.loadedOnce = true")
    return page


async def confirm(page: Page, action: str) -> None:
    """Click a button, and the same one in the confirmation dialog."""
    await page.get_by_role("button", name=action).click()
    await page.get_by_role("dialog").get_by_role("button", name=action).click()


async def start_pods(api: Api, name: str) -> None:
    """Set the two pods of a job to running, playing the kubelet."""
    for pod in await api.wait_for_pods(name, 2):
        await api.start_pod(pod)


async def use_every_action(page: Page, api: Api, name: str) -> None:
    """Suspend, resume, complete and delete a job on its page."""
    await page.get_by_role("link", name=name, exact=True).click()
    await expect(phase_of(page, "Running")).to_be_visible()
    await confirm(page, "Suspend")
    await expect(phase_of(page, "Suspended")).to_be_visible()
    await api.wait_for_pods(name, 0)
    await confirm(page, "Resume")
    await start_pods(api, name)
    await expect(phase_of(page, "Running")).to_be_visible()
    for pod in await api.pods(name):
        await api.finish_pod(pod)
    await expect(phase_of(page, "Succeeded")).to_be_visible()
    await confirm(page, "Delete")
    await api.wait_until_gone(name)


async def test_an_editor_can_change_a_job_and_a_viewer_cannot(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    home, server = (
        account_namespace,
        ApiServerUnderTest(strict_plane.kubeconfig, plane=strict_plane),
    )
    operators, consoles = (
        account_kubeconfig(strict_plane, tmp_path / part, namespace=home, part=part)
        for part in ("operator", "console")
    )
    process = ConsoleProcess(consoles, tmp_path / "console.log", TRAININGJOB_CONSOLE_AUTH="token")
    async with (
        running_browser_of_a_loop() as browser,
        Api(server, f"test-{uuid4().hex[:8]}") as api,
        Api(server, f"test-{uuid4().hex[:8]}") as others,
    ):
        tokens = (
            make_user(strict_plane, api.namespace, "works", "view", "edit"),
            make_user(strict_plane, api.namespace, "looks", "view"),
        )
        with OperatorProcess(operators, tmp_path / "operator.log") as operator, process as console:
            operator.wait_until_ready()
            works, looks = [await log_in(browser, console.url, token) for token in tokens]
            await others.apply(make_job("theirs"))
            await api.apply(make_job("ours", nodes=2))
            await start_pods(api, "ours")
            for page in (works, looks):
                await expect(row_of(page, "ours")).to_contain_text("2/2")
                await expect(row_of(page, "theirs")).to_have_count(0)
            await looks.get_by_role("link", name="ours", exact=True).click()
            await expect(phase_of(looks, "Running")).to_be_visible()
            for action in ("Suspend", "Delete"):
                await expect(looks.get_by_role("button", name=action)).to_have_count(0)
            await use_every_action(works, api, "ours")
            for page in (works, looks):
                assert await page.evaluate("window.loadedOnce")
            assert not [token for token in tokens if token in console.log()]
            await others.delete_job("theirs")
            await others.wait_until_gone("theirs")
        done = requests_of(strict_plane, api.namespace, "works")
        assert {(JOBS, "patch"), (JOBS, "delete")} <= {asked(request) for request in done}
        assert refused(done) == refused(requests_of(strict_plane, api.namespace, "looks")) == []
        own = requests_of(strict_plane, home, CONSOLE)
        assert {asked(request) for request in own} == {(JOBS, "list"), (JOBS, "watch")}
