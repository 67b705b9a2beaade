"""Memory pressure: when memory runs short, the index evicts finished and suspended jobs sooner.

Nothing else changes: live jobs, objects and files stay, and a waiting record is noted in the
cluster. Pressure begins above a high watermark and ends below a low one (hysteresis). Each change
is reported once, in the log and as an Event of the default RetentionPolicy, where people look for
the fate of finished jobs.
"""

import asyncio
import ctypes
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from trainingjob_api.constants import REASON_MEMORY_PRESSURE, REASON_MEMORY_PRESSURE_OVER
from trainingjob_operator.clock import SteadyTime
from trainingjob_operator.core.decision import Event
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.memory_use import MemoryUse
from trainingjob_operator.settings import MemorySettings

EVERY_S: Final = 5.0
"""Seconds between two checks: half of the ten seconds within which pressure must be noticed."""

_logger = logging.getLogger(__name__)


def trim_heap() -> bool:
    """Return free heap memory to the kernel, if the C library is glibc; True if there was any."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError):
        return False  # another C library, without `malloc_trim`


class MemoryPressure:
    """Detects memory pressure, and sets the index's retention accordingly.

    Attributes:
        use: memory use at the last check.
        is_on: True under pressure.
    """

    def __init__(
        self,
        settings: MemorySettings,
        index: JobIndex,
        steady: SteadyTime,
        *,
        retention_s: float,
        read: Callable[[], MemoryUse | None],
        trim: Callable[[], bool] = trim_heap,
        announce: Callable[[Event], bool] = lambda event: True,
    ) -> None:
        """Start without pressure.

        Args:
            settings: the watermarks, and the retention under pressure.
            index: the jobs in memory.
            steady: the clock of the index.
            retention_s: seconds for which finished jobs stay in the index without pressure.
            read: returns the memory use; None: it is unknown.
            trim: returns free memory to the kernel.
            announce: records an Event about a change. False: that is not possible yet.
        """
        self._settings: Final = settings
        self._index: Final = index
        self._steady: Final = steady
        self._read: Final = read
        self._trim: Final = trim
        self._announce: Final = announce
        self._normal_s: Final = retention_s
        self._still_said = False
        self._unreported: Event | None = None  # only the last change, which is the current state
        self.use: MemoryUse | None = None
        self.is_on = False
        self.begun_total = 0
        self.ended_total = 0
        self.forgotten_total = 0

    def retention_s(self) -> float:
        """Seconds for which finished jobs stay in the index at the moment."""
        return min(self._settings.retention, self._normal_s) if self.is_on else self._normal_s

    async def watch_memory(self) -> None:
        """Check every few seconds, until cancelled."""
        while True:
            try:
                self.check()
            except Exception:
                # A bug in this check is no reason to end the process.
                _logger.exception("the check of memory use failed; this is a bug")
            await asyncio.sleep(EVERY_S)

    def check(self) -> None:
        """Check memory use once; begin or end pressure, and evict jobs under pressure."""
        self._report_change()
        use = self.use = self._read()
        if use is None:
            return
        if not self.is_on and use.percent > self._settings.pressure_percent:
            self._begin(use)
        elif self.is_on and use.percent < self._settings.resume_percent:
            self._end(use)
        if self.is_on:
            self._forget(use)

    def _begin(self, use: MemoryUse) -> None:
        self.is_on, self._still_said = True, False
        self.begun_total += 1
        what = (
            f"memory pressure: {_describe(use)}; finished and suspended jobs leave the operator's memory "
            f"after {self.retention_s():.0f} s instead of {self._normal_s:.0f} s (objects, "
            "records and files stay)"
        )
        _logger.warning("%s", what)
        self._unreported = Event(reason=REASON_MEMORY_PRESSURE, message=what, warning=True)
        self._report_change()

    def _end(self, use: MemoryUse) -> None:
        self.is_on = False
        self.ended_total += 1
        what = (
            f"memory pressure is over: {_describe(use)}; finished and suspended jobs stay in the "
            f"operator's memory for {self._normal_s:.0f} s again"
        )
        _logger.info("%s", what)
        self._unreported = Event(reason=REASON_MEMORY_PRESSURE_OVER, message=what)
        self._report_change()

    def _report_change(self) -> None:
        """Record the Event of the last change, now or at a later check."""
        if self._unreported is not None and self._announce(self._unreported):
            self._unreported = None

    def _forget(self, before: MemoryUse) -> None:
        """Evict old jobs, return memory to the kernel, and warn if nothing could be evicted."""
        oldest = self._steady.now() - timedelta(seconds=self.retention_s())
        forgotten = self._index.evict_finished_before(oldest)
        self.forgotten_total += forgotten
        if forgotten:
            self._trim()
            self.use = self._read() or before
            _logger.info(
                "%d finished or suspended jobs left memory: %s", forgotten, _describe(self.use)
            )
        elif before.percent > self._settings.pressure_percent and not self._still_said:
            self._still_said = True
            _logger.warning(
                "memory pressure stays: %s, and no job finished or was suspended more than %.0f s ago; "
                "raise the memory limit, or lower TRAININGJOB_INDEX__MAX_JOBS",
                _describe(before),
                self.retention_s(),
            )


def _describe(use: MemoryUse) -> str:
    whose = "the limit" if use.source == "cgroup" else "the machine's memory"
    return f"{use.percent:.0f} % of {whose} ({use.used >> 20} of {use.limit >> 20} MiB)"
