"""The logs of a large job take longer than one log, but not longer than documented."""

import asyncio
from collections.abc import AsyncGenerator, Container
from typing import Final

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from tests.support.views import make_view, succeeded
from trainingjob_api.errors import ArchiveBusyError, UnavailableError
from trainingjob_api.log_sections import Section, Written
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.archiver import DEADLINE_S, PER_LOG_S, TRIES, Archiver

MIB: Final = 2**20
SPEED: Final = 100 * MIB
LATENCY_S: Final = 0.1
"""What a log costs beside its bytes: opening, two fsyncs, and the API server's own calls."""

NODE_S: Final = 10.0
"""For how long a node that is dead is waited for."""


class Node(FakeCluster):
    """Serves logs of 3 MiB at 100 MiB/s, or never.

    Attributes:
        dead: names of the pods whose node does not answer.
        reads: of each pod, how often it was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[str] = set()
        self.hangs = False
        self.reads: dict[str, int] = {}

    async def pod_log(
        self, namespace: str, name: str, *, container: str
    ) -> AsyncGenerator[bytes, None]:
        self.reads[name] = self.reads.get(name, 0) + 1
        if self.hangs:
            await asyncio.Event().wait()
        if name in self.dead:
            await asyncio.sleep(NODE_S)
            raise UnavailableError("dial tcp 10.0.0.7:10250: i/o timeout", status=500)
        await asyncio.sleep(LATENCY_S)
        for _ in range(3):
            await asyncio.sleep(MIB / SPEED)
            yield b"x"


class LogStore:
    """Archives that keep nothing but who was there.

    Attributes:
        whole: the pods whose sections are whole.
        busy_until: until when another process holds the lock.
    """

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.whole: list[str] = []
        self.busy_until = float("-inf")
        self.size = 0
        self.cut = 0
        self._pod = ""

    async def claim(self, expected_id: str | None, known: Container[str] = ()) -> None: ...

    async def ensure_job_directory(self, key: JobKey, uid: str) -> None: ...

    async def open(self, key: JobKey, uid: str) -> "LogStore":
        if self.clock.monotonic() < self.busy_until:
            raise ArchiveBusyError("another process holds the lock on job_1.log")
        return self

    async def find(self, pod: str, container: str = "") -> Written | None:
        return None

    async def ranks_of(self, attempt: int) -> frozenset[int]:
        return frozenset()

    async def begin(self, section: Section) -> None:
        self._pod = section.pod

    async def write(self, part: bytes) -> None: ...

    async def finish(self, *, running: bool) -> None:
        self.whole.append(self._pod)

    async def close(self) -> None: ...


class Work:
    """An archiver at work on one job."""

    def __init__(self, nodes: int) -> None:
        self.clock = LoopClock()
        self.node, self.store = Node(), LogStore(self.clock)
        self.archiver = Archiver(
            pods=self.node, store=self.store, clock=self.clock, enqueue=lambda key: None
        )
        self.job = make_view(nodes=nodes)
        self.pods = [succeeded(rank, container="trainer") for rank in range(nodes)]

    async def took_s(self) -> float:
        """Ask for all logs at once; how long it takes until the last is archived or given up."""
        begun = self.clock.monotonic()
        assert self.archiver.request_logs(self.job, self.pods)
        task = asyncio.create_task(self.archiver.keep_archiving())
        while self.archiver.queue:
            await asyncio.sleep(0.5)
        task.cancel()
        return self.clock.monotonic() - begun


@in_simulated_time
async def test_of_a_thousand_ranks_no_log_is_given_up() -> None:
    work = Work(1000)
    took = await work.took_s()
    assert DEADLINE_S < took < 1000 * (3 * MIB / SPEED + LATENCY_S) + 2
    assert (work.archiver.archived_total, work.archiver.given_up_total) == (1000, 0)


@in_simulated_time
async def test_dead_nodes_cost_the_ranks_on_them_and_no_others() -> None:
    work = Work(100)
    work.node.dead = {pod.name for pod in work.pods[:5]}
    await work.took_s()
    assert work.archiver.archived_total == 95
    assert work.archiver.given_up_total == 5
    assert {work.node.reads[name] for name in work.node.dead} == {TRIES}


@in_simulated_time
async def test_where_every_log_hangs_the_job_ends_when_its_patience_is_over() -> None:
    work = Work(1000)
    work.node.hangs = True
    took = await work.took_s()
    assert work.archiver.given_up_total == 1000
    assert took <= DEADLINE_S + PER_LOG_S * 1000 + 1
    assert len(work.node.reads) >= took // DEADLINE_S


@in_simulated_time
async def test_another_process_at_the_archive_is_waited_for() -> None:
    work = Work(20)
    work.store.busy_until = work.clock.monotonic() + DEADLINE_S / 2
    await work.took_s()
    assert (work.archiver.archived_total, work.archiver.given_up_total) == (20, 0)


@in_simulated_time
async def test_a_lock_that_stays_is_waited_for_no_longer_than_a_minute() -> None:
    work = Work(20)
    work.store.busy_until = float("inf")
    took = await work.took_s()
    assert took < DEADLINE_S + 5
    outcomes = work.archiver.outcomes_of(work.job).values()
    assert {outcome.lost for outcome in outcomes} == {
        "another process holds the lock on job_1.log"
    }
    assert not any(outcome.volume_fault for outcome in outcomes)
    assert work.archiver.volume_error == "", "the volume is not to blame"
