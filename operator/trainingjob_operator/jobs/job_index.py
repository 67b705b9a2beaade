"""The bounded in-memory index of jobs and their pods, like an informer's cache.

Every method is synchronous: between two awaits the index is consistent, and no lock is needed.

Bound: `max_jobs` entries. At the limit the index evicts a job that has finished, or a suspended one
that has settled; their objects in the cluster remain the truth. It never evicts a live job. If there
is nothing to evict, a new job is turned away and waits in a `fair_queue`, in which the namespace
with the fewest live jobs comes first. A job has at most a few pods for each rank; more can only be
forged, and are ignored. All pods are followed; `pod_limit` bounds their number through what may
start.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from trainingjob_api.constants import REASON_QUEUED
from trainingjob_operator.core.attempt import has_begun, should_run
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobKey, JobView, is_newer, is_rewound
from trainingjob_operator.core.job_stage import Stage, stage_of
from trainingjob_operator.core.pod import PodView
from trainingjob_operator.core.retention import finished_at
from trainingjob_operator.jobs.eviction_order import EvictionOrder
from trainingjob_operator.jobs.fair_queue import FairQueue
from trainingjob_operator.jobs.job_entry import JobEntry
from trainingjob_operator.jobs.pod_limit import PodLimit


class JobIndex:
    """Jobs by key. A key belongs to one uid at a time; a recreated job replaces the old one."""

    def __init__(
        self,
        max_jobs: int,
        *,
        max_pods: int = 100_000,
        monotonic: Callable[[], float] = lambda: 0.0,
        moment: Callable[[datetime], datetime] = lambda at: at,
        on_turn: Callable[[JobKey], None] = lambda key: None,
        on_forgotten: Callable[[JobKey], None] = lambda key: None,
    ) -> None:
        """Create an empty index.

        Args:
            max_jobs: the most entries it holds.
            max_pods: limit of the pods of all jobs for new starts; see `pod_limit`.
            monotonic: the time in seconds, for `pod_limit`.
            moment: converts the time at which a job finished or settled into the clock that
                `evict_finished_before` uses.
            on_turn: called with the key of the next waiting job when the index has room for it:
                read that job and call `observe_job` again. Called repeatedly while the job waits.
                Also called with the key of a job whose turn it is to start its pods.
            on_forgotten: called with the key of an evicted job, which still exists in the cluster.
                The caller forgets it, too, except the time at which it is to be deleted.
        """
        if max_jobs < 1:
            raise ValueError("max_jobs must be at least 1")
        self.max_jobs: Final = max_jobs
        self._live: Final[Counter[str]] = Counter()
        self.waiting: Final = FairQueue(live_in=self._live.__getitem__)
        self._moment: Final = moment
        self._on_turn: Final = on_turn
        self._on_forgotten: Final = on_forgotten
        self.pod_limit: Final = PodLimit(
            max_pods, max_waiting=max_jobs, monotonic=monotonic, on_turn=self._let_retry
        )
        self._entries: dict[JobKey, JobEntry] = {}
        self._evictable: Final = EvictionOrder()
        self.newest_version = "0"  # of all jobs that were ever observed
        self.evicted_total = 0
        self.refused_total = 0
        self.forgotten_total = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[JobEntry]:
        """All entries, as they are at the start of the iteration."""
        return iter(tuple(self._entries.values()))

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit, also of the queues of waiting jobs."""
        return (
            Bound("index", len(self), self.max_jobs),
            Bound("waiting_line", len(self.waiting), self.waiting.limit),
            *self.pod_limit.bounds,
        )

    def get(self, key: JobKey) -> JobEntry | None:
        """The entry of a job, or None."""
        return self._entries.get(key)

    def observe_job(self, job: JobView) -> bool:
        """Add or update a job as it was just seen; a version older than the index's is ignored.

        Returns:
            True if the job is in the index now. False: the index is full of live jobs, or the free
            entry belongs to another waiting job.
        """
        if is_newer(job.resource_version, self.newest_version):
            self.newest_version = job.resource_version
        entry = self._entries.get(job.key)
        if entry is None:
            return self._admit(job)
        if entry.job.uid != job.uid:
            if is_newer(job.resource_version, entry.job.resource_version):
                self._remove(job.key)
                return self._admit(job)
            return True
        if is_newer(job.resource_version, entry.job.resource_version):
            if entry.job.status.attempt != job.status.attempt:
                entry.vanished = entry.done = entry.unbegun = entry.begun = frozenset()
                entry.ended = None
                entry.has_service = False  # it may have been deleted since
            if not entry.job.status.is_finished:
                self._make_unevictable(job.key)  # if it had settled, it has changed since
            entry.job = job
            if job.status.is_finished:
                entry.ended = None
                entry.pods = {
                    name: pod for name, pod in entry.pods.items() if _still_matters(pod, job)
                }
            self._note_finished(job)
            self.pod_limit.recount(entry)
        return True

    def settle(self, key: JobKey, since: datetime) -> None:
        """Make a suspended job without pods evictable, as finished ones are, until it changes.

        A new pod of the job is such a change. Does nothing if it still has pods, or if its pods are
        not known.

        Args:
            key: the job's key.
            since: when it was suspended.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.pods_known and not entry.pods:
            self._make_evictable(key, since)

    def reserve_pods(self, entry: JobEntry) -> bool:
        """Reserve the pods of all ranks of a job. False: it is queued; see `pod_limit`."""
        return self._entries.get(entry.job.key) is entry and self.pod_limit.reserve(entry)

    def release_pods(self, entry: JobEntry) -> None:
        """Release the reserved pods that the API server has refused."""
        if self._entries.get(entry.job.key) is entry:
            self.pod_limit.release_unused(entry)

    def forget_job(self, key: JobKey, uid: str) -> bool:
        """Remove a deleted job from the index or the queue, if its uid matches.

        A deletion can be reported after a new job of the same name was created.
        """
        entry = self._entries.get(key)
        if entry is None or entry.job.uid != uid:
            return self.stop_waiting(key, uid)
        self._remove(key)
        self._call_next()
        return True

    def stop_waiting(self, key: JobKey, uid: str | None = None) -> bool:
        """Remove a job (of this uid) from the queue: it was deleted, or no longer needs an entry."""
        was_waiting = self.waiting.remove(key, uid)
        if was_waiting:
            self._call_next()
        return was_waiting

    def evict_finished_before(self, when: datetime) -> int:
        """Evict the jobs that finished or settled before a time by `moment`.

        Their records may be stored or not: the objects in the cluster are the truth, and the index
        only saves reads. A job with pods that still run or have to be deleted stays.

        Returns:
            The number of evicted jobs. Takes time only for these and for those that stay.
        """
        forgotten = 0
        for key in self._evictable.before(when):
            entry = self._entries[key]
            if not any(_still_matters(pod, entry.job) for pod in entry.pods.values()):
                self._forget(key)
                forgotten += 1
        self.forgotten_total += forgotten
        if forgotten:
            self._call_next()
        return forgotten

    def observe_pod(self, pod: PodView) -> bool:
        """Add or update a pod as it was just seen.

        Returns:
            True if anything changed that a decision could depend on.
        """
        entry = self._owner_of(pod)
        if entry is None:
            return self._drop_orphan(pod)
        known = entry.pods.get(pod.name)
        if known is not None and not is_newer(pod.resource_version, known.resource_version):
            return False
        if not _still_matters(pod, entry.job):
            return self._drop_pod(entry, pod.name)
        if known is None and (entry.has_too_many_pods or entry.was_deleted(pod)):
            return False
        if known is not None and known.uid == pod.uid:
            pod = pod.sharing_names_of(known)
        if pod.has_long_text and entry.has_enough_long_texts(pod):
            pod = pod.with_short_texts()
        entry.pods[pod.name] = pod
        if not entry.job.status.is_finished:
            self._make_unevictable(entry.job.key)
        if known is None:
            self._count_pod(entry, pod)
        return known is None or not pod.equals_except_version(known)

    def ignores_pod(self, pod: PodView) -> bool:
        """True if a pod no longer matters for any decision, since its job has finished."""
        entry = self._owner_of(pod)
        return entry is not None and not _still_matters(pod, entry.job)

    def forget_pod(self, pod: PodView, *, is_final: bool = False) -> bool:
        """Remove a deleted pod, if its uid matches, and note in the entry how it ended.

        Args:
            pod: the pod as it was seen last.
            is_final: this is the pod's final state (a DELETED event), not only the last one read.
        """
        entry = self._owner_of(pod)
        if entry is None:
            return False
        known = entry.pods.get(pod.name)
        if known is not None and known.uid != pod.uid:
            return False
        self._drop_pod(entry, pod.name)
        entry.note_deleted(pod)
        nodes = entry.job.spec.num_nodes
        if pod.attempt == entry.job.status.attempt and 0 <= pod.index < nodes:
            # The DELETED event can be the first one to say that the pod had completed.
            completed = pod.has_completed or (known is not None and known.has_completed)
            if completed:
                entry.done |= {pod.index}
            else:
                entry.vanished |= {pod.index}
                entry.keep_end(pod if pod.has_ended or known is None else known)
            if pod.has_log or (known is not None and known.has_log):
                entry.begun |= {pod.index}
            elif is_final:
                entry.unbegun |= {pod.index}
        return True

    def observe_listed(self, pod: PodView, version: str) -> bool:
        """Add or update a pod from a list that was read at this resourceVersion.

        The list's version holds even if it is older than the index's: then the cluster was
        restored. A pod of the same name with another uid was deleted, since names are unique,
        unless it is newer than the list.

        Returns:
            True if anything changed that a decision could depend on.
        """
        entry = self._owner_of(pod)
        before = entry.pods.get(pod.name) if entry is not None else None
        if entry is not None and before is not None:
            if before.uid != pod.uid and not is_newer(before.resource_version, version):
                self.forget_pod(before)
            elif is_rewound(before.resource_version, pod.resource_version, at=version):
                del entry.pods[pod.name]
        return self.observe_pod(pod)

    def forget_unlisted(self, entry: JobEntry, listed: Collection[str], version: str) -> None:
        """Remove the pods whose uids are missing in a complete list of this resourceVersion.

        They were deleted, unless they are newer than the list.
        """
        for known in tuple(entry.pods.values()):
            if known.uid not in listed and not is_newer(known.resource_version, version):
                self.forget_pod(known)
        entry.pods_known = True

    def mark_deleting(self, key: JobKey, uid: str, name: str) -> None:
        """Mark a pod whose deletion we requested, so that it is not requested again meanwhile."""
        entry = self._entries.get(key)
        pod = entry.pods.get(name) if entry is not None else None
        if entry is not None and pod is not None and pod.uid == uid:
            entry.pods[name] = replace(pod, deleting=True)

    def _count_pod(self, entry: JobEntry, pod: PodView) -> None:
        if pod.attempt == entry.job.status.attempt and should_run(entry.job):
            self.pod_limit.restore(entry)
        else:
            self.pod_limit.recount(entry)

    def _drop_pod(self, entry: JobEntry, name: str) -> bool:
        was_there = entry.drop_pod(name)
        self.pod_limit.recount(entry)
        return was_there

    def _let_retry(self, key: JobKey) -> None:
        """Let a job whose turn it is start its pods at once, before its own next try is due."""
        entry = self._entries.get(key)
        refusal = entry.refusal if entry is not None else None
        if entry is not None and refusal is not None and refusal.reason == REASON_QUEUED:
            entry.refusal = replace(refusal, retry_at=refusal.refused_at)
        self._on_turn(key)

    def _drop_orphan(self, pod: PodView) -> bool:
        """Stop following a pod that has lost its owner reference (`--cascade=orphan`)."""
        entry = self._entries.get(JobKey(pod.namespace, pod.job_name))
        known = entry.pods.get(pod.name) if entry is not None else None
        return known is not None and known.uid == pod.uid and self.forget_pod(known)

    def _owner_of(self, pod: PodView) -> JobEntry | None:
        entry = self._entries.get(JobKey(pod.namespace, pod.job_name))
        return entry if entry is not None and entry.job.uid == pod.owner_uid else None

    def _admit(self, job: JobView) -> bool:
        if not self._may_enter(job):
            self.refused_total += 1
            if not job.status.is_finished:
                self.waiting.add(job)
            self._call_next()
            return False
        if len(self._entries) >= self.max_jobs:
            self._forget(self._evictable.first)
            self.evicted_total += 1
        never_started = job.status.never_started
        entry = self._entries[job.key] = JobEntry(job=job, pods_known=never_started)
        if has_begun(job) and should_run(job) and not never_started:
            self.pod_limit.restore(entry)
        self._count_live(job.key.namespace, +1)
        self.waiting.remove(job.key)
        self._note_finished(job)
        self._call_next()
        return True

    def _may_enter(self, job: JobView) -> bool:
        return self._has_room and not self.waiting.has_job_before(job)

    @property
    def _has_room(self) -> bool:
        return len(self._entries) < self.max_jobs or bool(self._evictable)

    def _call_next(self) -> None:
        """Call `on_turn` for the head of the queue. No other job is admitted before it."""
        first = self.waiting.first
        if first is not None and self._has_room:
            self._on_turn(first)

    def _forget(self, key: JobKey) -> None:
        self._remove(key)
        self._on_forgotten(key)

    def _remove(self, key: JobKey) -> None:
        self.pod_limit.forget(self._entries.pop(key))
        if not self._evictable.discard(key):
            self._count_live(key.namespace, -1)

    def _count_live(self, namespace: str, change: int) -> None:
        self._live[namespace] += change
        if not self._live[namespace]:
            del self._live[namespace]

    def _note_finished(self, job: JobView) -> None:
        if job.status.is_finished:
            self._make_evictable(job.key, finished_at(job.status) or job.created_at)
        else:
            self._make_unevictable(job.key)  # its status was edited: it is live again

    def _make_evictable(self, key: JobKey, since: datetime) -> None:
        if key not in self._evictable:
            self._count_live(key.namespace, -1)
            self._evictable.add(key, self._moment(since))
            self._call_next()

    def _make_unevictable(self, key: JobKey) -> None:
        if self._evictable.discard(key):
            self._count_live(key.namespace, +1)


def _still_matters(pod: PodView, job: JobView) -> bool:
    """True if a pod still matters for a decision.

    Pods that have ended and are to stay do not, once their job has finished. There can be thousands
    of them.
    """
    stays = job.spec.clean_pod_policy != "All" and pod.attempt == job.status.attempt
    return not (stage_of(job) > Stage.LOGS and pod.is_terminal and stays)
