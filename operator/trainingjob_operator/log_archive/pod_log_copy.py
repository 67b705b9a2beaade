"""Copies the logs of one pod from the API server to its job's archive."""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Final

from trainingjob_api.errors import GoneError, KubernetesError
from trainingjob_api.log_sections import Section
from trainingjob_operator.core.decision import LogOutcome
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.log_archive.log_queue import LogTask
from trainingjob_operator.log_archive.protocols import LogArchive, LogStore

_GONE: Final = "the pod was deleted before its log was known to be archived"


async def copy_logs(pods: Cluster, store: LogStore, task: LogTask) -> LogOutcome:
    """Append the logs of a pod to its job's archive, unless they are in it already."""
    archive = await store.open(task.key, task.job_uid)
    try:
        if task.searched_ranks:
            return _search_outcome(task, await archive.ranks_of(task.attempt), size=archive.size)
        cut = await _copy_all(pods, archive, task)
        return _archived(task, cut=cut, size=archive.size)
    finally:
        await archive.close()


async def _copy_all(pods: Cluster, archive: LogArchive, task: LogTask) -> int:
    """Append the log of each container, even if another one fails.

    Returns:
        The largest number of bytes dropped from one log.
    """
    cut, fault = 0, None
    for container, called in task.sections:
        section = Section(attempt=task.attempt, rank=task.rank, pod=task.pod_uid, container=called)
        try:
            cut = max(cut, await _copy_one(pods, archive, task, section, container))
        except GoneError:
            raise
        except KubernetesError as error:
            fault = fault or error
    if fault is not None:
        raise fault
    return cut


async def _copy_one(
    pods: Cluster, archive: LogArchive, task: LogTask, section: Section, container: str
) -> int:
    found = await archive.find(section.pod, section.container)
    if found is not None:
        return found.cut
    log = pods.pod_log(task.key.namespace, task.pod, container=container)
    async with aclosing(log):
        await _fill(archive, section, log)
    await archive.finish(running=task.running)
    return archive.cut


async def _fill(archive: LogArchive, section: Section, log: AsyncGenerator[bytes, None]) -> None:
    """Copy a log chunk by chunk. The section begins only once the first chunk was read."""
    is_begun = False
    async for part in log:
        if not is_begun:
            await archive.begin(section)
            is_begun = True
        await archive.write(part)
    if not is_begun:
        await archive.begin(section)


def _archived(task: LogTask, *, cut: int, size: int) -> LogOutcome:
    return LogOutcome(attempt=task.attempt, rank=task.rank, cut=cut, size=size)


def _search_outcome(task: LogTask, found: Collection[int], *, size: int) -> LogOutcome:
    missing = task.searched_ranks - set(found)
    return LogOutcome(
        attempt=task.attempt,
        rank=min(missing or task.searched_ranks),
        ranks=missing,
        searched_ranks=task.searched_ranks,
        lost=_GONE if missing else "",
        size=size,
    )
