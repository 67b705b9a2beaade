"""A namespace on the API server under test, and a console before it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.apiserver.api import Api
from tests.support.console.running import ConsoleUnderTest, running_console


@pytest.fixture
async def console(api: Api) -> AsyncIterator[ConsoleUnderTest]:
    """A console without a log-in, for the test's own namespace."""
    async with running_console(api.server, namespaces=[api.namespace]) as found:
        yield found
