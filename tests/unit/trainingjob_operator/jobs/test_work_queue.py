"""The work queue: one pass for many events, never two at once, back-off after failures."""

import asyncio

from trainingjob_operator.jobs.work_queue import WorkQueue


async def test_ten_events_are_one_pass() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(10):
        queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert (queue.depth, len(queue)) == (0, 0)


async def test_a_key_is_never_worked_on_twice_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0  # it waits until the first pass is over
    queue.done("a")
    assert queue.depth == 1


async def test_the_earliest_timer_remains() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 3600)
    queue.add_after("a", 0)
    queue.add_after("a", 3600)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_failures_in_a_row_wait_longer_and_success_forgets_them() -> None:
    queue: WorkQueue[str] = WorkQueue(base_s=1.0, cap_s=8.0)
    waits = [queue.retry("a") for _ in range(6)]
    assert all(1.0 * 2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits[:4]))
    assert all(8.0 <= wait <= 10.0 for wait in waits[3:])
    queue.forget_failures("a")
    assert queue.retry("a") <= 1.25
    queue.close()


async def test_a_key_on_hold_waits_whatever_comes() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.park("a", 3600)
    queue.add("a")
    queue.done("a")
    queue.add("a")
    assert (queue.depth, len(queue)) == (0, 1)
    queue.close()


async def test_a_hold_ends_by_itself() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.park("a", 0.01)
    queue.done("a")
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_a_dropped_key_leaves_nothing_behind() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.retry("a")
    queue.add_after("a", 3600)
    queue.drop("a")
    assert len(queue) == 0


async def test_at_its_limit_the_queue_turns_away_only_keys_that_are_not_followed() -> None:
    queue: WorkQueue[str] = WorkQueue(limit=3, follows=lambda key: key.startswith("followed"))
    for number in range(5):
        queue.add(f"stranger-{number}")
        queue.add_after(f"late-{number}", 60)
    assert len(queue) == 3
    assert queue.refused_total == 7
    queue.add("followed-1")
    queue.add_after("followed-2", 60)
    assert len(queue) == 5
    queue.close()


async def test_a_queued_key_stays_queued_at_the_limit() -> None:
    queue: WorkQueue[str] = WorkQueue(limit=1)
    queue.add("a")
    key = await queue.get()
    queue.add("a")  # news while it is worked on
    queue.retry("a", at_least_s=60)
    queue.park("a", 60)
    queue.add("b")
    assert queue.refused_total == 1
    queue.done(key)
    assert len(queue) == 1
    queue.drop("a")
    queue.add("b")
    assert await queue.get() == "b"
    queue.close()


async def test_a_key_that_is_followed_no_longer_keeps_its_appointment_below_the_limit() -> None:
    followed = {f"job-{number}" for number in range(5)}
    queue: WorkQueue[str] = WorkQueue(limit=3, follows=followed.__contains__)
    for key in sorted(followed):
        queue.add_after(key, 60)
    assert len(queue) == 5
    for key in sorted(followed):
        followed.remove(key)
        queue.unfollow(key)
    assert len(queue) == 3, "the bound holds for them, too"
    queue.retry("failed")  # a stranger: there is no room
    queue.unfollow("failed")
    queue.unfollow("unheard-of")
    assert (len(queue), queue._failures) == (3, {})
    queue.close()
