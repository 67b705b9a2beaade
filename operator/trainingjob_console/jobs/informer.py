"""Informer of TrainingJobs: lists and watches them, and keeps the index up to date."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from trainingjob_api.constants import API_VERSION, PLURAL_TRAINING_JOBS
from trainingjob_console.errors import ApiServerError
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.summary import Summary, summarize
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.watch import ListedPage, WatchEvent, WatchFailure, list_and_watch

_AT_ONCE: Final = 20
_HAS_NO_JOBS: Final = (403, 404)
"""Statuses of a namespace's list that count as an empty list. When a namespace is deleted, its Role is
deleted too, and the console would otherwise wait for that namespace for ever."""

_logger = logging.getLogger(__name__)


def jobs_path(namespace: str = "", name: str = "") -> str:
    """Return the API path of one job, of a namespace's jobs, or of all jobs."""
    parts = [f"/apis/{API_VERSION}"]
    if namespace:
        parts += ["namespaces", namespace]
    return "/".join([*parts, PLURAL_TRAINING_JOBS, *([name] if name else [])])


class JobInformer:
    """Keeps the index up to date with the jobs of all namespaces, or of the given ones."""

    def __init__(self, kube: Kube, index: JobIndex, namespaces: Sequence[str]) -> None:
        self._kube: Final = kube
        self._index: Final = index
        self._namespaces: Final = tuple(namespaces) or ("",)
        self._listed: Final[set[str]] = set()
        self._errors: Final[dict[str, ApiServerError]] = {}

    @property
    def error(self) -> str | None:
        """The reason why the index is not up to date; None: no error is known."""
        return next((_describe(error) for error in self._errors.values()), None)

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces:
                group.create_task(self._follow(namespace), name=f"jobs {namespace or 'all'}")

    async def _follow(self, namespace: str) -> None:
        listed: set[str] = set()
        async for event in list_and_watch(self._kube, jobs_path(namespace), summarize):
            if isinstance(event, WatchFailure):
                if namespace not in self._errors:
                    _logger.warning("jobs cannot be watched: %s", _describe(event.error))
                self._errors[namespace] = event.error
                if namespace and event.error.status in _HAS_NO_JOBS:
                    self._keep_only(namespace, set())
                continue
            if self._errors.pop(namespace, None) is not None:
                _logger.info("jobs are being watched again")
            if isinstance(event, ListedPage):
                listed = set() if event.first else listed
                listed |= await self._take_page(event)
                if event.last:
                    self._end_list(namespace, listed)
                    listed = set()
            else:
                self._take_change(event)

    async def _take_page(self, page: ListedPage[Summary | None]) -> set[str]:
        found: set[str] = set()
        for number, job in enumerate(page.items, start=1):
            if job is not None:
                self._index.put(job)
                found.add(job.uid)
            if (
                not number % _AT_ONCE
            ):  # each change is matched against the filters of all subscriptions
                await asyncio.sleep(0)
        return found

    def _take_change(self, change: WatchEvent) -> None:
        job = summarize(change.object)
        if job is None:
            return
        if change.kind == "DELETED":
            self._index.remove(job.uid)
        else:
            self._index.put(job)

    def _end_list(self, namespace: str, listed: set[str]) -> None:
        left_out = len(listed) - sum(1 for uid in listed if self._index.get(uid) is not None)
        self._keep_only(namespace, listed)
        self._index.left_out = left_out

    def _keep_only(self, namespace: str, listed: set[str]) -> None:
        """Remove the namespace's jobs that its complete list lacks.

        The index counts as complete once every namespace has been listed.
        """
        others = {
            job.uid for job in self._index.jobs() if namespace and job.namespace != namespace
        }
        self._listed.add(namespace)
        self._index.keep_only(listed | others, complete=len(self._listed) == len(self._namespaces))


def _describe(error: ApiServerError) -> str:
    return f"{error}: {error.detail}" if error.detail else str(error)
