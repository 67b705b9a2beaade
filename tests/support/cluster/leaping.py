"""A time that leaps over every wait: a minute of back-off costs a test nothing."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, ParamSpec

P = ParamSpec("P")


class _LeapingSelector(selectors.SelectSelector):
    """Waits for nothing: when all there is to do is later, later is now."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is left that could ever happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time leaps to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        self._leaping: Final = _LeapingSelector()
        super().__init__(self._leaping)
        # Beyond half a year a float cannot tell a nanosecond, and what is due would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._leaping.now

    def suspend(self, seconds: float) -> None:
        """Let time pass while nothing runs, as after SIGSTOP: all that was due then is due now."""
        self._leaping.now += seconds


def suspend(seconds: float) -> None:
    """Stop the test's process, so to say, for so long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    loop.suspend(seconds)


def leaping_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run an async test on a leaping loop: `asyncio.sleep(60)` is an hour-glass turned over."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class LoopClock:
    """The running loop's time, as a wall clock and as a monotonic one."""

    START: Final = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class SetClock(LoopClock):
    """The same, with a wall clock that somebody sets: it is ahead by so many seconds."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)
