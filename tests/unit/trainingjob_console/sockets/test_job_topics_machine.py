"""Whatever is dropped, cut and resumed: a client that has read everything has the state of the server."""

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.console.run_work import run_work
from trainingjob_console.jobs.fair_scheduler import Work
from trainingjob_console.jobs.filters import Filter
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.summary import Summary, summarize
from trainingjob_console.sockets.budget import Budget
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.job_topics import JobTopics, Topic, TopicKey

UIDS = [f"uid-{n}" for n in range(6)]
PHASES = ["Running", "Failed"]
KEYS = [
    TopicKey(filter=Filter()),
    TopicKey(filter=Filter(phase="Running")),
    TopicKey(filter=Filter(), namespaces=frozenset({"a"})),
    TopicKey(filter=Filter(), uid=UIDS[0]),
]
LIMIT = 5


def job(uid: str, namespace: str, phase: str, version: int) -> Summary:
    found = summarize(
        {
            "metadata": {
                "uid": uid,
                "name": uid,
                "namespace": namespace,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "resourceVersion": str(version),
            },
            "status": {"phase": phase},
        }
    )
    assert found is not None
    return found


def new_index(epoch: int) -> JobIndex:
    return JobIndex(max_jobs=100, epoch=str(epoch), max_changes=LIMIT)


@dataclass
class Client:
    """A page: it lists, subscribes from its position, and applies the frames that it is sent."""

    key: TopicKey
    rows: dict[str, Any] = field(default_factory=dict)
    position: str | None = None
    queue: CoalescingQueue | None = None
    joining: Work[Topic] | None = None
    """Work that must finish before the queue may be read."""


class Page(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.epoch = 0
        self.index = new_index(0)
        self.topics = JobTopics(self.index, step=1)
        self.budget = Budget(limit=3500)
        self.clients = [Client(key) for key in KEYS]
        self.version = 0

    @rule(
        uid=st.sampled_from(UIDS),
        phase=st.sampled_from(PHASES),
        namespace=st.sampled_from(["a", "b"]),
    )
    def change(self, uid: str, phase: str, namespace: str) -> None:
        self.version += 1
        before = self.index.get(uid)
        kept = before.namespace if before is not None else namespace
        self.index.put(job(uid, kept, phase, self.version))

    @precondition(lambda self: len(self.index) > 0)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.index.remove(
            data.draw(st.sampled_from(sorted(each.uid for each in self.index.jobs())))
        )

    @rule(number=st.integers(0, len(KEYS) - 1))
    def connect(self, number: int) -> None:
        client = self.clients[number]
        if client.queue is None:
            self._subscribe(client)

    @rule(number=st.integers(0, len(KEYS) - 1))
    def lose_the_connection(self, number: int) -> None:
        client = self.clients[number]
        if client.queue is not None:
            self._forget(client)

    @rule(number=st.integers(0, len(KEYS) - 1))
    def take_a_step_of_joining(self, number: int) -> None:
        client = self.clients[number]
        if client.joining is not None and next(client.joining, Topic) is Topic:
            client.joining = None

    @rule(number=st.integers(0, len(KEYS) - 1))
    def read(self, number: int) -> None:
        client = self.clients[number]
        if client.queue is not None and client.joining is None:
            self._read(client)

    @rule()
    def restart_the_server(self) -> None:
        for client in self.clients:
            if client.queue is not None:
                self._forget(client)
        self.epoch += 1
        before, self.index = self.index, new_index(self.epoch)
        for each in before.jobs():
            self.index.put(each)
        self.topics = JobTopics(self.index, step=1)

    @invariant()
    def queues_are_within_their_limits(self) -> None:
        queues = [client.queue for client in self.clients if client.queue is not None]
        assert sum(queue.size for queue in queues) == self.budget.used <= self.budget.limit
        assert len(self.budget) == len(queues)
        assert len(self.topics) <= len(queues)

    @invariant()
    def who_has_read_all_has_what_the_server_has(self) -> None:
        for client in self.clients:
            queue = client.queue
            is_read = queue is not None and not len(queue) and not queue.is_broken
            if is_read and client.joining is None:
                assert client.rows == self._listed(client.key)

    def teardown(self) -> None:
        for client in self.clients:
            for _ in range(3):  # a resync at most, then it reads, and has all
                if client.queue is None:
                    self._subscribe(client)
                if client.joining is not None:
                    run_work(client.joining)
                    client.joining = None
                self._read(client)
            assert client.queue is not None
            assert client.rows == self._listed(client.key)
            topic, fresh = (
                run_work(self.topics.join(client.key, None, client.queue)),
                Topic(client.key),
            )
            run_work(fresh.count(self.index))
            counts = json.loads(f"{{{topic.counts[1:]}}}")
            assert counts == json.loads(f"{{{fresh.counts[1:]}}}")
            assert counts["total"] == len(client.rows)
        for client in self.clients:
            self._forget(client)
        assert len(self.topics) == 0
        assert self.budget.used == 0

    def _listed(self, key: TopicKey) -> dict[str, Any]:
        topic = Topic(key)
        return {each.uid: each.row() for each in self.index.jobs() if topic.matches(each)}

    def _subscribe(self, client: Client) -> None:
        if client.position is None:
            client.rows, client.position = self._listed(client.key), self.index.position
        client.queue = CoalescingQueue(4, self.budget)
        client.joining = self.topics.join(client.key, client.position, client.queue)

    def _read(self, client: Client) -> None:
        queue = client.queue
        assert queue is not None
        if queue.is_broken:
            self._forget(client)
            client.position = None
            return
        batch = queue.take()
        if batch is not None:
            assert not {json_uid(row) for row in batch.rows} & set(batch.gone)
            for text in batch.rows:
                client.rows[json_uid(text)] = json.loads(text)
            for uid in batch.gone:
                client.rows.pop(uid, None)
            client.position = self.index.position

    def _forget(self, client: Client) -> None:
        assert client.queue is not None
        if client.joining is not None:
            client.joining.close()
            client.joining = None
        self.topics.leave(client.key, client.queue)
        client.queue.close()
        client.queue = None


def json_uid(text: str) -> str:
    return text.split('"uid":"', 1)[1].split('"', 1)[0]


TestPage = Page.TestCase
TestPage.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, phases=[Phase.explicit, Phase.generate]
)
"""Without shrinking, which takes minutes on a machine that is busy."""
