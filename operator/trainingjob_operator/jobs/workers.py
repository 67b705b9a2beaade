"""The workers: take keys from the queue, reconcile them, and choose the retry for each error."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from trainingjob_api.errors import KubernetesError, RightMissingError, ThrottledError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.create_errors import FIRST_RETRY_S, LONGEST_RETRY_S
from trainingjob_operator.jobs.work_queue import WorkQueue

_logger = logging.getLogger(__name__)

Reconcile = Callable[[JobKey], Awaitable[float | None]]


class Workers:
    """A fixed number of workers on one queue. One job's failure never delays other jobs."""

    def __init__(
        self,
        queue: WorkQueue[JobKey],
        reconcile: Reconcile,
        *,
        count: int,
        on_pass: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Prepare the workers; none runs yet.

        Args:
            queue: the queue of keys.
            reconcile: makes one pass over a job.
            count: number of workers.
            on_pass: called after every pass with its duration in seconds.
        """
        self._queue: Final = queue
        self._reconcile: Final = reconcile
        self._count: Final = count
        self._on_pass: Final = on_pass
        self._tasks: list[asyncio.Task[None]] = []
        self.passes_total = 0
        self.failures_total = 0

    def start(self) -> None:
        """Start the workers."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"worker-{number}")
            for number in range(self._count)
        ]

    async def stop(self) -> None:
        """Stop at once, if need be in the middle of a pass.

        A pass may stop anywhere, as in a crash: the next process continues from the objects in the
        API server.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._queue.close()

    @property
    def are_alive(self) -> bool:
        """True if all workers run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            key = await self._queue.get()
            begun = loop.time()
            try:
                again = await self._reconcile(key)
            except ThrottledError as error:
                self._failed(key, error)
                self._queue.park(key, max(error.retry_after_s, 0.1))
            except RightMissingError as error:
                # Mostly an API server that has just started. Otherwise RBAC must be changed, which
                # causes no event of the job; so it is parked.
                self._failed(key, error)
                self._queue.park_with_backoff(key, at_least_s=FIRST_RETRY_S)
            except KubernetesError as error:
                self._failed(key, error)
                if error.permanent:
                    self._queue.park(key, LONGEST_RETRY_S)
                else:
                    self._queue.retry(key)
            except Exception:
                # A bug in one job's pass must not affect other jobs.
                self.failures_total += 1
                _logger.exception("job %s: the pass failed; this is a bug", key)
                self._queue.retry(key, at_least_s=1.0)
            else:
                self._queue.forget_failures(key)
                if again is not None:
                    self._queue.add_after(key, again)
            finally:
                self.passes_total += 1
                self._on_pass(loop.time() - begun)
                self._queue.done(key)

    def _failed(self, key: JobKey, error: KubernetesError) -> None:
        self.failures_total += 1
        _logger.warning("job %s: %s; retrying later", key, error)
