"""A real browser for the console: Debian's chromium, driven by Playwright."""

import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright import async_api
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from tests.support.repository import ROOT

REQUIRE_BROWSER: Final = "TRAININGJOB_TEST_REQUIRE_BROWSER"
SCREENSHOTS: Final = ROOT / "build" / "console"
"""Where pictures of the pages are left, for people to look at."""

PATIENCE_MS: Final = 90_000
"""For what never comes. A page tries again after 30 s at most, and this machine may be slow."""
_FLAGS: Final = (
    "--no-sandbox",  # CI runs as root, for which chromium has no sandbox
    "--disable-dev-shm-usage",
    "--js-flags=--expose-gc",
    "--enable-precise-memory-info",
)
_NETWORK_CHANGED: Final = "net::ERR_NETWORK_CHANGED"
"""What chromium says of all requests under way, to this machine, too, when a test of containers makes or
removes a network interface."""

_LISTEN: Final = """
addEventListener("securitypolicyviolation", (event) => {
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


def find_browser() -> Path:
    """Return the path of chromium; the test is skipped, or fails, without it."""
    found = shutil.which("chromium")
    if found is not None:
        return Path(found)
    reason = "no chromium on PATH (`apt-get install chromium`)"
    if os.environ.get(REQUIRE_BROWSER):
        pytest.fail(f"{REQUIRE_BROWSER} is set, and there is {reason}")
    pytest.skip(reason)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a browser until the context ends."""
    program = find_browser()
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=list(_FLAGS)) as browser,
    ):
        yield browser


@asynccontextmanager
async def running_browser_of_a_loop() -> AsyncIterator[async_api.Browser]:
    """The same for a test with an event loop of its own, which may run beside others of its kind."""
    program = find_browser()
    async with async_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """One tab, and the errors that it reported.

    Attributes:
        page: Playwright's.
        complaints: violations of the Content Security Policy, script errors, and messages that the browser logged.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._url = url
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(_LISTEN)
        self.page: Page = context.new_page()
        self.page.on(
            "console",
            lambda line: (
                self._complain(f"{line.text} {line.location['url']}")
                if line.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda error: self._complain(f"script: {error}"))

    def _complain(self, text: str) -> None:
        # A pod may be deleted at any time, and a browser logs every 404 response, even if the page handles it.
        is_of_gone_pod = "404 (Not Found)" in text and "/logs/live" in text
        if _NETWORK_CHANGED not in text and not is_of_gone_pod:
            self.complaints.append(text)

    def open(self, path: str) -> Page:
        """Load a page of the console, whole: one of which a part did not come loads itself again."""
        try:
            self.page.goto(self._url + path)
        except Error as error:
            if _NETWORK_CHANGED not in error.message:
                raise
            self.page.goto(self._url + path)
        self.page.locator("main").wait_for(state="attached")
        return self.page

    def heap_mib(self) -> float:
        """Return the memory of the page's scripts after a collection, in MiB."""
        self.page.evaluate("gc()")
        used = self.page.evaluate("performance.memory.usedJSHeapSize")
        return float(used) / 2**20

    def picture(self, name: str) -> None:
        """Save a screenshot."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


def wait_in(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until the condition is true, and process Playwright's events meanwhile."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        page.wait_for_timeout(20)


@contextmanager
def new_tab(
    browser: Browser,
    url: str,
    *,
    theme: Literal["light", "dark"] = "light",
    width: int = 1280,
    height: int = 800,
) -> Iterator[Tab]:
    """Open a tab with its own cookies and storage."""
    with browser.new_context(
        color_scheme=theme, viewport={"width": width, "height": height}
    ) as context:
        yield Tab(context, url)
