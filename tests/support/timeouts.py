"""Time limits of tests: a test that hangs fails, with the stacks of its tasks.

They catch tests that would hang for ever, and are far above what a test takes on a busy machine.
"""

import asyncio
import io
from typing import Final

import pytest

TEST_S: Final = 900.0
LONG_TEST_S: Final = 2700.0
"""For a long proof. When even the end of a test hangs, pytest ends its process:
`faulthandler_timeout` in pyproject.toml."""

_MESSAGE: Final = "Timeout"
"""What pytest-timeout's failures begin with."""


def limit(item: pytest.Item) -> None:
    """Set a test's time limit, unless it has its own."""
    if item.get_closest_marker("timeout") is None:
        is_long = item.get_closest_marker("long") is not None
        item.add_marker(pytest.mark.timeout(LONG_TEST_S if is_long else TEST_S))


def stacks_of_tasks(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Return the stacks of the tasks of the event loop that a timeout has interrupted; "": none.

    The traceback ends in the loop itself, and says nothing of them.
    """
    if not (error.errisinstance(pytest.fail.Exception) and str(error.value).startswith(_MESSAGE)):
        return ""
    text = io.StringIO()
    frames = (entry.frame.f_locals.get("self") for entry in error.traceback)
    loop = next((each for each in frames if isinstance(each, asyncio.AbstractEventLoop)), None)
    for task in asyncio.all_tasks(loop) if loop else ():
        task.print_stack(file=text)
    return text.getvalue()
