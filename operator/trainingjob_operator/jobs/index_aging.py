"""The index forgets finished jobs when they are old, their records stored or not.

So it does suspended jobs that are settled.

Their objects are the truth. What has pods that run stays, because they have to be taken down.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from trainingjob_operator.clock import SteadyTime
from trainingjob_operator.jobs.job_index import JobIndex

EVERY_S: Final = 10.0
"""Seconds between two looks. One that finds nothing costs nothing."""

_SLACK_S: Final = 5.0
"""An index that forgets at the age at which jobs are deleted lets those appointments come first."""

_logger = logging.getLogger(__name__)


class IndexAging:
    """Ages the index."""

    def __init__(
        self, index: JobIndex, steady: SteadyTime, *, retention_s: Callable[[], float]
    ) -> None:
        """Prepare.

        Args:
            index: the jobs in memory.
            steady: the time that the index goes by.
            retention_s: for how many seconds finished jobs are remembered now.
        """
        self._index: Final = index
        self._steady: Final = steady
        self._retention_s: Final = retention_s
        self._counted = index.forgotten_total

    def forget(self) -> None:
        """Forget what is old by now."""
        age = timedelta(seconds=self._retention_s() + _SLACK_S)
        self._index.forget_finished_before(self._steady.now() - age)

    def take_forgotten(self) -> int:
        """Forget what is old; how many jobs were forgotten, by anybody, since this was called."""
        self.forget()
        before, self._counted = self._counted, self._index.forgotten_total
        return self._counted - before

    async def keep_aging(self) -> None:
        """Forget what is old every few seconds, until cancelled."""
        while True:
            try:
                self.forget()
            except Exception:
                # Memory that grows is bad; a process that ends because of it would be worse.
                _logger.exception("the index could not be aged; this is a bug")
            await asyncio.sleep(EVERY_S)
