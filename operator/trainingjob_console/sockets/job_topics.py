"""Who is sent which changes of jobs: one topic for each filter and each user's namespaces."""

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
    """The filter that a subscriber wants, and may have.

    Attributes:
        filter: of the list.
        namespaces: whose jobs the user may list; None: all.
        uid: of the only job; "": all jobs.
    """

    filter: Filter
    namespaces: frozenset[str] | None = None
    uid: str = ""


@lru_cache(maxsize=1024)
def row_text(job: Summary) -> str:
    """Return the row of a job as JSON, which all queues share.

    Bound: the 1,024 that were asked for last.
    """
    return encode(job.row())


class Topic:
    """The subscribers of one filter, and its counts, which follow every change."""

    def __init__(self, key: TopicKey) -> None:
        self._key: Final = key
        self.members: Final[set[CoalescingQueue]] = set()
        self._total = 0
        self._counts: Final[Counter[str]] = Counter()
        self._uncounted: Iterator[Summary] | None = None

    def count(self, index: JobIndex, step: int = STEP) -> Work[None]:
        """Count the jobs, as far as that is not done: each who joins does it, or a part of it.

        Changes that come in between are added to the counts, as those are that come later.
        """
        if self._uncounted is None:
            self._uncounted = iter(list(index.jobs()))
        for number, job in enumerate(self._uncounted, start=1):
            self._count(job, 1)
            if not number % step:
                yield

    @property
    def counts(self) -> str:
        """The fields of a frame with the counts, encoded, with a comma before each."""
        counts = {phase: number for phase, number in self._counts.items() if number > 0}
        return f',"counts":{encode(counts)},"total":{self._total}'

    def has(self, job: Summary | None) -> bool:
        """True if the subscribers are shown this job."""
        return job is not None and self._may_have(job) and self._key.filter.matches(job)

    def add(self, change: Change) -> None:
        """Give a change to all members, if it concerns them."""
        if self._uncounted is not None:  # else it is counted as it will be then
            self._count(change.before, -1)
            self._count(change.after, 1)
        for queue in list(self.members):
            self.pass_on(queue, change.uid, change.before, change.after)

    def pass_on(
        self, queue: CoalescingQueue, uid: str, before: Summary | None, after: Summary | None
    ) -> None:
        """Give a change of a job to one member, if it concerns it."""
        if after is not None and self.has(after):
            queue.put(uid, row_text(after))
        elif self.has(before):
            queue.put(uid, None)

    def _count(self, job: Summary | None, by: int) -> None:
        """Count a job in its phase; as in a list, whatever phase the filter has."""
        if job is None or not self._may_have(job):
            return
        if self._key.filter.matches(job, any_phase=True):
            self._counts[job.phase] += by
            self._total += by * self._key.filter.matches(job)

    def _may_have(self, job: Summary) -> bool:
        allowed = self._key.namespaces
        return self._key.uid in ("", job.uid) and (allowed is None or job.namespace in allowed)


class JobTopics:
    """All topics; one without members is forgotten at once."""

    def __init__(self, index: JobIndex, step: int = STEP) -> None:
        """Begin without topics.

        Args:
            index: of the jobs.
            step: jobs that are looked at in one step of the work of joining.
        """
        self.index: Final = index
        self._step: Final = step
        self._topics: Final[dict[TopicKey, Topic]] = {}
        index.listen(self._publish)

    def __len__(self) -> int:
        return len(self._topics)

    def join(self, key: TopicKey, position: str | None, queue: CoalescingQueue) -> Work[Topic]:
        """Send a queue what has changed since a position, and all changes from now on.

        Nothing of the queue may be sent before the end of this, for its counts are not known. Where
        the position is unknown the queue breaks at once, and the client loads its page again.
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
            # As it is by now: what has come in between is not to be replaced by what was before it.
            topic.pass_on(queue, uid, before, self.index.get(uid))
            if not number % self._step:
                yield
        return topic

    def leave(self, key: TopicKey, queue: CoalescingQueue) -> None:
        """Send a queue nothing more."""
        topic = self._topics.get(key)
        if topic is None:
            return
        topic.members.discard(queue)
        if not topic.members:
            del self._topics[key]

    def _publish(self, change: Change) -> None:
        for topic in list(self._topics.values()):
            topic.add(change)
