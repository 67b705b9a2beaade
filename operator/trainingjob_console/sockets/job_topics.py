"""Distributes changes of jobs to subscribers: one topic per filter and set of permitted namespaces."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from trainingjob_console.jobs.fair_scheduler import STEP, Work
from trainingjob_console.jobs.filters import Filter
from trainingjob_console.jobs.index import Change, JobIndex
from trainingjob_console.jobs.summary import Summary
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.frames import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicKey:
    """The jobs of a topic: the filter of its subscribers, and the namespaces that they may list.

    Attributes:
        filter: of the list.
        namespaces: permitted namespaces; None: all.
        uid: of a single job; "": all jobs.
    """

    filter: Filter
    namespaces: frozenset[str] | None = None
    uid: str = ""


@lru_cache(maxsize=1024)
def row_text(job: Summary) -> str:
    """Encode the row of a job as JSON, which all queues share.

    Bound: an LRU cache of 1,024 rows.
    """
    return encode(job.row())


class Topic:
    """The subscribers of one topic, and the counts of its jobs, which are updated with every change."""

    def __init__(self, key: TopicKey) -> None:
        self._key: Final = key
        self.members: Final[set[CoalescingQueue]] = set()
        self._total = 0
        self._counts: Final[Counter[str]] = Counter()
        self._uncounted: Iterator[Summary] | None = None

    def count(self, index: JobIndex, step: int = STEP) -> Work[None]:
        """Count the jobs that are not counted yet. Every subscriber that joins runs this, or a part of it.

        Changes during and after the count are added to the counts.
        """
        if self._uncounted is None:
            self._uncounted = iter(list(index.jobs()))
        for number, job in enumerate(self._uncounted, start=1):
            self._count(job, 1)
            if not number % step:
                yield

    @property
    def counts(self) -> str:
        """The counts as encoded fields of a frame, each with a leading comma."""
        counts = {phase: number for phase, number in self._counts.items() if number > 0}
        return f',"counts":{encode(counts)},"total":{self._total}'

    def matches(self, job: Summary | None) -> bool:
        """True if the subscribers are sent this job."""
        return job is not None and self._is_visible(job) and self._key.filter.matches(job)

    def add(self, change: Change) -> None:
        """Send a change to all members, if it concerns them."""
        if self._uncounted is not None:  # else the count sees the new state
            self._count(change.before, -1)
            self._count(change.after, 1)
        for queue in list(self.members):
            self.notify(queue, change.uid, change.before, change.after)

    def notify(
        self, queue: CoalescingQueue, uid: str, before: Summary | None, after: Summary | None
    ) -> None:
        """Send a change of a job to one member, if it concerns it."""
        if after is not None and self.matches(after):
            queue.put(uid, row_text(after))
        elif self.matches(before):
            queue.put(uid, None)

    def _count(self, job: Summary | None, by: int) -> None:
        """Count a job by phase. As in a list, phases are counted regardless of the phase filter."""
        if job is None or not self._is_visible(job):
            return
        if self._key.filter.matches(job, any_phase=True):
            self._counts[job.phase] += by
            self._total += by * self._key.filter.matches(job)

    def _is_visible(self, job: Summary) -> bool:
        allowed = self._key.namespaces
        return self._key.uid in ("", job.uid) and (allowed is None or job.namespace in allowed)


class JobTopics:
    """All topics. A topic is removed when its last member leaves."""

    def __init__(self, index: JobIndex, step: int = STEP) -> None:
        """Initialize without topics.

        Args:
            index: of jobs.
            step: jobs per step of the work of joining.
        """
        self.index: Final = index
        self._step: Final = step
        self._topics: Final[dict[TopicKey, Topic]] = {}
        index.listen(self._publish)

    def __len__(self) -> int:
        return len(self._topics)

    def join(self, key: TopicKey, position: str | None, queue: CoalescingQueue) -> Work[Topic]:
        """Send the changes since a position to a queue, and all changes from now on.

        Nothing of the queue may be sent before this has finished, as the counts are not known. If the position is no
        longer known, the queue is cut at once, and the client reloads its page.
        """
        missed = [] if position is None else self.index.changes_since(position)
        if missed is None:
            queue.cut()
            return Topic(key)
        topic = self._topics.setdefault(key, Topic(key))
        topic.members.add(queue)
        known: dict[str, Summary | None] = {}
        for change in missed:
            known.setdefault(change.uid, change.before)
        yield from topic.count(self.index, self._step)
        for number, (uid, before) in enumerate(known.items(), start=1):
            # The current state: an older state must not overwrite changes made in between.
            topic.notify(queue, uid, before, self.index.get(uid))
            if not number % self._step:
                yield
        return topic

    def leave(self, key: TopicKey, queue: CoalescingQueue) -> None:
        """Stop sending to a queue."""
        topic = self._topics.get(key)
        if topic is None:
            return
        topic.members.discard(queue)
        if not topic.members:
            del self._topics[key]

    def _publish(self, change: Change) -> None:
        for topic in list(self._topics.values()):
            topic.add(change)
