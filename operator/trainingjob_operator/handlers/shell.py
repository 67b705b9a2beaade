"""kopf as a task that ends when it is told to, soon and without an error of its own.

kopf leaves in order once it is told: its watches first, then our own parts, then whatever else is
under way. A discovery that is under way it gives five seconds, in which that only tries again and
again to use a connection that is closed, and then raises what came of it. By that time nothing is
left that could be lost.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

LINGERS_S: Final = 0.5
"""Seconds that kopf has from the end of our own parts to its own."""

_END_AT_LAST_S: Final = 8.0
_TURNS: Final = 10
"""Turns of the event loop in which kopf has begun: it waits for nothing but one turn."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger(__name__)


class Shell:
    """Runs kopf, and knows whether it was told to stop.

    Attributes:
        told: set when kopf is to end: its own flag for that.
        is_signalled: a signal said so, so that the process is to end, too.
    """

    def __init__(self) -> None:
        self.told: Final = asyncio.Event()
        self._left: Final = asyncio.Event()
        self._listens = False
        self.is_signalled = False

    def listen(self) -> None:
        """Take SIGTERM and SIGINT for being told to stop, from now on.

        A process that is number 1 of its container does not even end by a signal that nobody
        listens to.
        """
        self._listens = True
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._tell, number)

    def _tell(self, number: signal.Signals) -> None:
        _logger.info("%s: stopping", number.name)
        if not self.is_signalled:
            # A process that does nothing must not live: it is started anew only when it has ended.
            loop = asyncio.get_running_loop()
            loop.call_later(_END_AT_LAST_S, os.kill, os.getpid(), signal.SIGKILL)
        self.is_signalled = True
        self.told.set()

    def leave(self) -> None:
        """Our own parts have stopped: kopf has no reason to stay."""
        self._left.set()

    async def wait_for(self, waiting: Coroutine[Any, Any, None]) -> bool:
        """Wait for something before kopf is run. False: the process was told to stop meanwhile."""
        told = asyncio.create_task(self.told.wait(), name="told")
        task = asyncio.create_task(waiting, name="waiting")
        try:
            await asyncio.wait({told, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return not self.told.is_set()

    async def run(self, operator: Coroutine[Any, Any, None]) -> None:
        """Run kopf until it ends. What it raises after it was told to stop is only logged."""
        # kopf waits in the end for every task that is younger than itself: this one is older.
        leaving = asyncio.create_task(self._left.wait(), name="leaving")
        kopf = asyncio.create_task(operator, name="kopf")
        try:
            if self._listens:
                await _let_begin_without_signals()
            await asyncio.wait({kopf, leaving}, return_when=asyncio.FIRST_COMPLETED)
            # Not told, it ends by a fault of its own, which it raises when it is through.
            await asyncio.wait({kopf}, timeout=LINGERS_S if self.told.is_set() else None)
        finally:
            leaving.cancel()
            kopf.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await kopf
        except Exception as error:
            if not self.told.is_set():
                raise
            _logger.warning("kopf ended with %s: %s", type(error).__name__, error)


async def _let_begin_without_signals() -> None:
    """Wait until kopf has begun, and does not take the signals for itself, as it else would.

    Between its taking and ours a signal would be lost to us, and with it why kopf ends.
    """
    loop = asyncio.get_running_loop()
    take = loop.add_signal_handler
    setattr(loop, "add_signal_handler", _leave_alone)  # noqa: B010 - its type is too rich
    try:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
    finally:
        loop.add_signal_handler = take  # type: ignore[method-assign]


def _leave_alone(*_: object) -> None:
    """Take no signal."""
