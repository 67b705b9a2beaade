"""Group commits: each write returns after its commit, and a bad record does not affect others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.exc import DataError

from tests.support.records.records import encode, make_record
from trainingjob_records.batching import BatchWriter
from trainingjob_records.errors import UnavailableError
from trainingjob_records.record import Entry, parse_entry
from trainingjob_records.writes import Outcome, Result


def entry(uid: str, revision: int = 1, message: str = "") -> Entry:
    return parse_entry(uid, encode(make_record(uid, revision=revision, message=message)))


class Store:
    """A store that commits nothing, and returns when a test allows it."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, int]]] = []
        self.may_commit = asyncio.Event()
        self.error: Exception | None = None
        self.poisoned = ""

    async def __call__(self, entries: Sequence[Entry]) -> list[Outcome]:
        self.batches.append([(e.uid, e.record.revision) for e in entries])
        await self.may_commit.wait()
        if self.error is not None:
            raise self.error
        if any(e.uid == self.poisoned for e in entries):
            raise DataError("INSERT", {}, ValueError("no such character"))
        return [Outcome(Result.STORED, e.record.revision) for e in entries]


@asynccontextmanager
async def running(store: Store, **bounds: float) -> AsyncIterator[BatchWriter]:
    writer = BatchWriter(
        store,
        max_records=int(bounds.get("max_records", 10)),
        max_bytes=int(bounds.get("max_bytes", 10**9)),
        batch_records=int(bounds.get("batch_records", 4)),
        commit_timeout_s=bounds.get("commit_timeout_s", 30),
    )
    task = asyncio.create_task(writer.keep_writing())
    yield writer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: object) -> None:
    async with asyncio.timeout(30):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0)


async def test_no_write_returns_before_the_commit() -> None:
    store = Store()
    async with running(store) as writer:
        waiting = asyncio.create_task(writer.write(entry("a")))
        await until(lambda: store.batches)
        assert not waiting.done()
        store.may_commit.set()
        assert await waiting == Outcome(Result.STORED, 1)


async def test_records_that_arrive_during_a_commit_share_the_next_one() -> None:
    store = Store()
    async with running(store) as writer:
        tasks = [asyncio.create_task(writer.write(entry("first")))]
        await until(lambda: store.batches)
        tasks += [asyncio.create_task(writer.write(entry(f"u{n}"))) for n in range(6)]
        await until(lambda: writer.waiting == 6)
        store.may_commit.set()
        await asyncio.gather(*tasks)
    assert [len(batch) for batch in store.batches] == [1, 4, 2]
    assert (writer.waiting, writer.waiting_bytes) == (0, 0)


async def test_a_batch_has_each_uid_once_and_revisions_keep_their_order() -> None:
    store = Store()
    async with running(store) as writer:
        tasks = [asyncio.create_task(writer.write(entry("first")))]
        await until(lambda: store.batches)
        for uid, revision in (("a", 1), ("a", 2), ("b", 1), ("a", 3), ("c", 1)):
            tasks.append(asyncio.create_task(writer.write(entry(uid, revision))))
        await until(lambda: writer.waiting == 5)
        store.may_commit.set()
        await asyncio.gather(*tasks)
    assert store.batches[1:] == [[("a", 1), ("b", 1), ("c", 1)], [("a", 2)], [("a", 3)]]
    assert writer.waiting_bytes == 0


@pytest.mark.parametrize("bounds", [{"max_records": 3}, {"max_bytes": 3 * len(entry("u").body)}])
async def test_at_its_limit_the_queue_refuses_records(bounds: dict[str, float]) -> None:
    store = Store()
    async with running(store, **bounds) as writer:
        tasks = [asyncio.create_task(writer.write(entry("u")))]
        await until(lambda: store.batches)
        tasks += [asyncio.create_task(writer.write(entry(str(n)))) for n in range(3)]
        await until(lambda: writer.waiting == 3)
        with pytest.raises(UnavailableError, match="the queue is full") as caught:
            await writer.write(entry("4"))
        assert caught.value.retry_after_s == 1
        store.may_commit.set()
        await asyncio.gather(*tasks)
        assert (await writer.write(entry("5"))).result is Result.STORED


async def test_a_failed_commit_fails_its_whole_batch_and_the_next_one_is_tried() -> None:
    store = Store()
    store.may_commit.set()
    store.error = UnavailableError("gone", retry_after_s=5)
    async with running(store) as writer:
        results = await asyncio.gather(
            *(writer.write(entry(uid)) for uid in "abc"), return_exceptions=True
        )
        assert [type(result) for result in results] == [UnavailableError] * 3
        store.error = None
        assert (await writer.write(entry("a"))).result is Result.STORED


async def test_a_write_times_out_without_a_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    async with running(store, commit_timeout_s=0.05) as writer:
        with pytest.raises(UnavailableError, match="not committed within"):
            await writer.write(entry("a"))
        store.may_commit.set()
        # The machine may stand still for 0.05 s while the next one is written.
        monkeypatch.setattr(writer, "_commit_timeout_s", 30)
        assert (await writer.write(entry("b"))).result is Result.STORED


async def test_a_record_that_the_database_refuses_does_not_fail_the_others() -> None:
    store = Store()
    store.poisoned = "bad"
    async with running(store) as writer:
        tasks = [asyncio.create_task(writer.write(entry("first")))]
        await until(lambda: store.batches)
        tasks += [asyncio.create_task(writer.write(entry(uid))) for uid in ("a", "bad", "c")]
        await until(lambda: writer.waiting == 3)
        store.may_commit.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, DataError) for result in results] == [False, False, True, False]


async def test_a_batch_is_bounded_in_bytes_or_is_one_record_of_any_size() -> None:
    store = Store()
    large = "x" * (5 * 1024 * 1024)
    async with running(store) as writer:
        tasks = [asyncio.create_task(writer.write(entry("first")))]
        await until(lambda: store.batches)
        tasks += [asyncio.create_task(writer.write(entry(uid, message=large))) for uid in "ab"]
        await until(lambda: writer.waiting == 2)
        store.may_commit.set()
        await asyncio.gather(*tasks)
    assert [len(batch) for batch in store.batches] == [1, 1, 1]
