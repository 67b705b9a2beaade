"""Limits one sweep: seconds, entries and bytes; and sets the idle I/O class for its thread."""

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
    """The sweep has used up its time; the next one continues."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one sweep, and the quota for files of deleted jobs.

    Attributes:
        share_percent: percentage of all entries that one sweep may remove.
        at_least: number of entries that it may remove in any case.
        seconds: maximum duration.
        bytes: maximum number of bytes to free.
        quota: maximum bytes of files that no job owns; above it some are removed before they
            expire. 0: no quota.
        processes: maximum number of deleter processes.
    """

    share_percent: float = 20.0
    at_least: int = 200
    seconds: float = 120.0
    bytes: int = 1 << 50
    quota: int = 0
    processes: int = 2


class Budget:
    """The remaining budget; long operations call `tick`. Not thread-safe, except for `stop`."""

    def __init__(
        self, *, seconds: float, entries: int, bytes_: int, monotonic: Callable[[], float]
    ) -> None:
        """Start the clock.

        Args:
            seconds: maximum duration, from now on.
            entries: maximum number of entries to remove.
            bytes_: maximum number of bytes to free.
            monotonic: the clock.
        """
        self._monotonic: Final = monotonic
        self._deadline: Final = monotonic() + seconds
        self._entries = entries
        self._bytes = bytes_
        self.stop: Final = threading.Event()

    def tick(self) -> None:
        """Check the deadline and the stop flag.

        Raises:
            BudgetError: the time is used up, or the process is stopping.
        """
        if self.stop.is_set() or self._monotonic() > self._deadline:
            raise BudgetError("the sweep has used up its time")

    def set_entry_limit(self, entries: int) -> None:
        """Set how many entries may be removed, after all entries were counted."""
        self._entries = entries

    def spend(self) -> bool:
        """Take one entry from the budget; False: none is left."""
        if self._entries <= 0 or self._bytes <= 0:
            return False
        self._entries -= 1
        return True

    def freed(self, bytes_: int) -> None:
        """Take freed bytes from the budget."""
        self._bytes -= bytes_


def set_idle_io_class() -> None:
    """Give this thread the idle I/O scheduling class, if the platform supports it.

    Its CPU priority is not lowered: a thread that holds the GIL and gets no CPU would block the
    event loop.
    """
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, *_THIS_THREAD, _IDLE)
