"""The budget of one sweep: seconds, entries and bytes, with idle I/O."""

import ctypes
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from trainingjob_api.errors import OperatorError

_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
_THIS_THREAD: Final = (1, 0)
_IDLE: Final = 3 << 13


class BudgetError(OperatorError):
    """The sweep has had its share; the next one goes on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one sweep, and the quota above which it has to do more.

    Attributes:
        share_percent: of all entries, that one sweep may remove.
        at_least: entries that it may remove in any case.
        seconds: how long it may take.
        bytes: that it may free.
        quota: bytes that files may take which no job owns; above it the first of them go before
            their time. 0: never.
        processes: that delete beside the sweep, at most.
    """

    share_percent: float = 20.0
    at_least: int = 200
    seconds: float = 120.0
    bytes: int = 1 << 50
    quota: int = 0
    processes: int = 2


class Budget:
    """Asked now and then by everything that takes long. For one thread; any may set `stop`."""

    def __init__(
        self, *, seconds: float, entries: int, bytes_: int, monotonic: Callable[[], float]
    ) -> None:
        """Start the clock.

        Args:
            seconds: from now on.
            entries: to remove at most.
            bytes_: to free at most.
            monotonic: the clock.
        """
        self._monotonic: Final = monotonic
        self._deadline: Final = monotonic() + seconds
        self._entries = entries
        self._bytes = bytes_
        self.stop: Final = threading.Event()

    def tick(self) -> None:
        """Go on, if there is time left.

        Raises:
            BudgetError: there is none, or the process ends.
        """
        if self.stop.is_set() or self._monotonic() > self._deadline:
            raise BudgetError("the sweep has had its time")

    def rest(self, seconds: float) -> None:
        """Wait so long, and no longer than the process lives.

        Raises:
            BudgetError: there is no time left.
        """
        self.stop.wait(seconds)
        self.tick()

    def allow(self, entries: int) -> None:
        """Set how many entries may be removed, once they are counted."""
        self._entries = entries

    def spend(self) -> bool:
        """True if one more entry may be removed; it counts as removed."""
        if self._entries <= 0 or self._bytes <= 0:
            return False
        self._entries -= 1
        return True

    def freed(self, bytes_: int) -> None:
        """Count bytes."""
        self._bytes -= bytes_


def set_idle_io_class() -> None:
    """Give this thread the idle I/O class, where the machine has one.

    The class of its own I/O alone: its share of the processor stays, because a thread that holds
    Python's lock and is not given a processor would hold up the event loop.
    """
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, *_THIS_THREAD, _IDLE)
