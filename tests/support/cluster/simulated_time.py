"""An event loop with simulated time that skips every wait, so a minute of back-off takes a test no time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, ParamSpec

P = ParamSpec("P")


class _SimulatedTimeSelector(selectors.SelectSelector):
    """Never blocks: if only timers are pending, it advances the time to the next one."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is left that could ever happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when nothing else is ready."""

    def __init__(self) -> None:
        self._simulated: Final = _SimulatedTimeSelector()
        super().__init__(self._simulated)
        # Beyond half a year, a float has no nanosecond precision, and a timer might never become due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._simulated.now

    def suspend(self, seconds: float) -> None:
        """Advance the time while nothing runs, as SIGSTOP does: all timers that expired meanwhile are due now."""
        self._simulated.now += seconds


def suspend_process(seconds: float) -> None:
    """Simulate that the process is stopped for this long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedTimeLoop)
    loop.suspend(seconds)


def in_simulated_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run an async test on a `SimulatedTimeLoop`: `asyncio.sleep(60)` returns at once, a minute later in simulated time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class LoopClock:
    """The running loop's time, as a wall clock and as a monotonic one."""

    START: Final = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class AdjustableLoopClock(LoopClock):
    """The same, with an adjustable wall clock that is ahead by this many seconds."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)
