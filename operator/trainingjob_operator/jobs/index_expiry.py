"""Evicts finished jobs, and suspended ones without pods, from the index after a time (TTL).

It does so whether their records are stored or not: the objects in the cluster are the truth. Jobs
with running pods stay, because these pods have to be deleted.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from trainingjob_operator.clock import SteadyTime
from trainingjob_operator.jobs.job_index import JobIndex

EVERY_S: Final = 10.0
"""Seconds between two runs. One that finds nothing costs nothing."""

_SLACK_S: Final = 5.0
"""Seconds added to the TTL: if jobs are deleted at the same age, the deletion comes first."""

_logger = logging.getLogger(__name__)


class IndexExpiry:
    """Evicts from the index the jobs whose retention is over."""

    def __init__(
        self, index: JobIndex, steady: SteadyTime, *, retention_s: Callable[[], float]
    ) -> None:
        """Prepare.

        Args:
            index: the jobs in memory.
            steady: the clock of the index.
            retention_s: returns for how many seconds finished jobs stay in the index at the moment.
        """
        self._index: Final = index
        self._steady: Final = steady
        self._retention_s: Final = retention_s
        self._counted = index.forgotten_total

    def forget(self) -> None:
        """Evict the jobs whose retention is over."""
        age = timedelta(seconds=self._retention_s() + _SLACK_S)
        self._index.evict_finished_before(self._steady.now() - age)

    def take_forgotten(self) -> int:
        """Evict as `forget` does; return how many jobs were evicted, also by others, since the last call."""
        self.forget()
        before, self._counted = self._counted, self._index.forgotten_total
        return self._counted - before

    async def keep_evicting(self) -> None:
        """Evict every few seconds, until cancelled."""
        while True:
            try:
                self.forget()
            except Exception:
                # Growing memory is bad; ending the process because of it would be worse.
                _logger.exception("old jobs could not be evicted from the index; this is a bug")
            await asyncio.sleep(EVERY_S)
