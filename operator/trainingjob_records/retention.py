"""Applies the retention limits in the background: removes records by age and by total size.

By age, a run removes at most 0.2 % of the records, or 50. So a clock that is wrong for a day does
little damage, and the log reports it. By size, records are removed only if the records themselves
exceed their limit, not because other files fill the volume.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from trainingjob_records.database import Database
from trainingjob_records.deletion import BATCH, count, is_aged, now, remove_oldest
from trainingjob_records.errors import RequestError
from trainingjob_records.quantities import SizeLimit

_CHECK_EVERY_S: Final = 5.0
_CHECK_EVERY_REMOTE_S: Final = 600.0
_MIN_PER_PASS: Final = 50
_SHARE_PER_PASS: Final = 500
_SPARE_BYTES: Final = 2 * 1024 * 1024
_MAX_JUMP: Final = timedelta(minutes=5)
_DISTRUST_S: Final = 86400.0
_logger = logging.getLogger(__name__)


class ClockGuard:
    """Detects jumps of the wall clock, which ages depend on, by comparing it to a monotonic clock."""

    def __init__(self) -> None:
        self._last: tuple[datetime, float] | None = None
        self._distrusted_until = 0.0

    def trusts(self, wall: datetime, monotonic_s: float) -> bool:
        """Return True if no call within the last day has detected a jump of the wall clock."""
        last, self._last = self._last, (wall, monotonic_s)
        if last is not None:
            expected = last[0] + timedelta(seconds=monotonic_s - last[1])
            if abs(wall - expected) > _MAX_JUMP:
                _logger.warning(
                    "the clock jumped from %s to %s; no record is removed by age for a day",
                    expected.isoformat(timespec="seconds"),
                    wall.isoformat(timespec="seconds"),
                )
                self._distrusted_until = monotonic_s + _DISTRUST_S
        return monotonic_s >= self._distrusted_until


class Retention:
    """Removes records beyond the limits. One for each process; several may run concurrently."""

    def __init__(
        self, database: Database, *, age: timedelta, size: SizeLimit, interval_s: float
    ) -> None:
        self._database: Final = database
        self._usage: Final = database.usage
        self._age: Final = age
        self._size: Final = size
        self._interval_s: Final = interval_s
        self._guard: Final = ClockGuard()
        self._warned = ""

    async def keep_limits(self) -> None:
        """Remove records beyond the limits until cancelled. Age is first checked after one interval."""
        await self._database.prepared.wait()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval_s
        every_s = _CHECK_EVERY_S if self._database.is_file else _CHECK_EVERY_REMOTE_S
        while True:
            try:
                await self.keep_size()
                if loop.time() >= due:
                    due = loop.time() + self._interval_s
                    await self.remove_aged(loop.time())
            except RequestError as error:
                _logger.warning("the limits of the records could not be checked: %s", error)
            await self._database.wait_until_full(min(every_s, max(due - loop.time(), 0.1)))

    async def keep_size(self) -> None:
        """Measure the size, remove records beyond the limit, and accept records again if possible."""
        await self._database.measure()
        if self._usage.is_full:
            await self._database.use_reserve()
        await self._remove_excess()
        await self._database.restore_reserve()
        warning = self._usage.warning
        if warning and not self._warned:
            _logger.warning("%s", warning)
        self._warned = warning

    async def remove_aged(self, monotonic_s: float) -> None:
        """Remove some of the expired records.

        Args:
            monotonic_s: seconds of a monotonic clock.
        """
        wall = await self._database.write_even_if_full(now)
        if not self._guard.trusts(wall, monotonic_s) or not self._age:
            return
        try:
            conditions = is_aged(wall - self._age)
        except OverflowError:
            return
        records = await self._database.write_even_if_full(count)
        left = max(_MIN_PER_PASS, records // _SHARE_PER_PASS)
        removed = 0
        while left > 0:
            work = partial(remove_oldest, conditions=conditions, limit=min(left, BATCH))
            deleted, _ = await self._database.write_even_if_full(work)
            if not deleted:
                break
            removed += deleted
            left -= deleted
            self._usage.removed["age"] += deleted
        if removed:
            _logger.info("%d records older than %s were removed", removed, self._age)

    async def _remove_excess(self) -> None:
        space = self._usage.space
        limit = self._usage.limit = self._size.of(space.total if space else None)
        if space is None or limit is None:
            return
        if space.ceiling is not None:
            # On a tiny volume the file could reach its maximum size before the limit.
            spare = max(space.ceiling // 10, min(_SPARE_BYTES, space.ceiling // 2))
            limit = self._usage.limit = min(limit, space.ceiling - spare)
        removed = 0
        used = space.used
        while used > limit:
            deleted, size = await self._database.write_even_if_full(
                partial(remove_oldest, excess=used - limit)
            )
            if not deleted:
                break
            removed += deleted
            self._usage.removed["size"] += deleted
            used = (await self._database.measure()).used if self._database.is_file else used - size
        if removed:
            _logger.info(
                "the %d oldest records were removed: the limit is %d MiB", removed, limit >> 20
            )
