"""One browser and one laptop for all tests of the page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.console.browser import PATIENCE_MS, Tab, new_tab, running_browser
from tests.support.console.laptop import Laptop, running_laptop

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def laptop(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Run the sandbox's processes, only where there is a browser."""
    with running_laptop(tmp_path_factory.mktemp("laptop")) as found:
        yield found


@pytest.fixture
def tab(browser: Browser, laptop: Laptop) -> Iterator[Tab]:
    """Yield a new tab, and check at the end that it logged no errors."""
    with new_tab(browser, laptop.url) as found:
        yield found
        assert found.complaints == []
