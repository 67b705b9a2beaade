"""Runs kopf as one task that stops on request, quickly and without raising errors of the shutdown.

kopf shuts down in order: its watches, then its cleanup handlers (which stop our engine), then
whatever else is running. It gives a running API discovery five seconds. By then that discovery can
only retry on a closed connection, and raises the resulting error. Nothing can be lost any more at
that point, so kopf is cancelled instead.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from kopf._core.reactor.inventory import ResourceMemories

KOPF_GRACE_S: Final = 0.5
"""Seconds between the end of our engine and the cancellation of kopf."""

_KILL_AFTER_S: Final = 8.0
_LOOP_ITERATIONS: Final = 10
"""Iterations of the event loop after which kopf has started: it awaits nothing longer than one."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger(__name__)


class CountedMemories(ResourceMemories):
    """kopf's in-memory state of objects, with a length for the metrics.

    kopf keeps about a kilobyte for every object until it sees the object deleted. It watches only
    RetentionPolicies, at most one per namespace, and needs the state for their timers. An instance
    is passed to `kopf.operator`, which accepts one although the class is not public.
    """

    def __len__(self) -> int:
        return len(self._items)


class KopfRunner:
    """Runs kopf, and records if a stop was requested.

    Attributes:
        stop_requested: kopf's stop flag: set to make it shut down.
        is_signalled: a signal requested the stop, so the whole process must exit as well.
    """

    def __init__(self) -> None:
        self.stop_requested: Final = asyncio.Event()
        self._engine_has_stopped: Final = asyncio.Event()
        self._handles_signals = False
        self.is_signalled = False

    def handle_signals(self) -> None:
        """Treat SIGTERM and SIGINT as stop requests from now on.

        The kernel does not deliver them to process 1 of a container unless it installs a handler.
        """
        self._handles_signals = True
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        _logger.info("%s: stopping", number.name)
        if not self.is_signalled:
            # A shutdown that hangs would leave an idle process, and the kubelet restarts the
            # container only after the process has exited.
            loop = asyncio.get_running_loop()
            loop.call_later(_KILL_AFTER_S, os.kill, os.getpid(), signal.SIGKILL)
        self.is_signalled = True
        self.stop_requested.set()

    def engine_stopped(self) -> None:
        """Note that our engine has stopped, so kopf has nothing left to do."""
        self._engine_has_stopped.set()

    async def wait_unless_stopped(self, waiting: Coroutine[Any, Any, None]) -> bool:
        """Await something before kopf is started. False: a stop was requested in the meantime."""
        stop = asyncio.create_task(self.stop_requested.wait(), name="stop-requested")
        task = asyncio.create_task(waiting, name="waiting")
        try:
            await asyncio.wait({stop, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return not self.stop_requested.is_set()

    async def run(self, operator: Coroutine[Any, Any, None]) -> None:
        """Run kopf until it ends. Exceptions that it raises after a stop request are only logged."""
        # At its end kopf waits for every task created after its own: create this one before it.
        engine_end = asyncio.create_task(self._engine_has_stopped.wait(), name="engine-stopped")
        kopf = asyncio.create_task(operator, name="kopf")
        try:
            if self._handles_signals:
                await _start_without_signal_handlers()
            await asyncio.wait({kopf, engine_end}, return_when=asyncio.FIRST_COMPLETED)
            # Without a stop request kopf ends by an error of its own: let it finish and raise it.
            is_stopping = self.stop_requested.is_set()
            await asyncio.wait({kopf}, timeout=KOPF_GRACE_S if is_stopping else None)
        finally:
            engine_end.cancel()
            kopf.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await kopf
        except Exception as error:
            if not self.stop_requested.is_set():
                raise
            _logger.warning("kopf ended with %s: %s", type(error).__name__, error)


async def _start_without_signal_handlers() -> None:
    """Wait until kopf has started, and keep it from installing its own signal handlers.

    They would replace ours. A signal that arrives before ours are installed again would stop kopf
    without our knowing why.
    """
    loop = asyncio.get_running_loop()
    add_signal_handler = loop.add_signal_handler
    setattr(loop, "add_signal_handler", _ignore)  # noqa: B010 - its type is too rich
    try:
        for _ in range(_LOOP_ITERATIONS):
            await asyncio.sleep(0)
    finally:
        loop.add_signal_handler = add_signal_handler  # type: ignore[method-assign]


def _ignore(*_: object) -> None:
    """Install no handler."""
