"""A hanging volume blocks only some threads."""

import asyncio
import threading

import pytest

from tests.support.volume.volume import until
from trainingjob_api.errors import VolumeError
from trainingjob_operator.log_archive.file_threads import FileThread, FileThreads


async def test_what_a_call_returns_and_raises_comes_back() -> None:
    threads = FileThreads(2)
    assert await threads.call_once(lambda: 42, deadline_s=5) == 42
    with pytest.raises(FileNotFoundError):
        await threads.call_once(lambda: open("/nonexistent/file"), deadline_s=5)  # noqa: SIM115, PTH123
    assert (threads.used, threads.hanging) == (0, 0)


async def test_hanging_calls_are_abandoned_and_then_no_caller_waits_any_more() -> None:
    threads, end = FileThreads(2), threading.Event()
    for _ in range(2):
        with pytest.raises(VolumeError, match="did not answer within"):
            await threads.call_once(end.wait, deadline_s=0.05)
    assert (threads.used, threads.hanging) == (2, 2)

    with pytest.raises(VolumeError, match="hangs"):
        await threads.call_once(lambda: 1, deadline_s=60)

    end.set()
    await until(lambda: not threads.used)
    assert threads.hanging == 0
    assert await threads.call_once(lambda: 1, deadline_s=5) == 1


async def test_a_cancelled_caller_leaves_its_thread_counted() -> None:
    threads, end = FileThreads(1), threading.Event()
    caller = asyncio.create_task(threads.call_once(end.wait, deadline_s=60))
    await until(lambda: threads.used == 1)
    caller.cancel()
    await asyncio.wait([caller])
    assert threads.hanging == 1
    end.set()
    await until(lambda: not threads.hanging)


async def test_one_that_finds_no_thread_in_time_is_never_run() -> None:
    threads, end = FileThreads(1), threading.Event()
    ran: list[int] = []
    first = asyncio.create_task(threads.call_once(end.wait, deadline_s=60))
    await until(lambda: threads.used == 1)
    with pytest.raises(VolumeError):
        await threads.call_once(lambda: ran.append(1), deadline_s=0.05)
    end.set()
    assert await first
    assert ran == []


async def test_all_calls_on_a_file_and_its_end_are_made_by_one_thread() -> None:
    threads, made_by = FileThreads(1), list[int]()

    def note() -> None:
        made_by.append(threading.get_ident())

    thread = FileThread(threads, at_end=note)
    for _ in range(3):
        await thread.call(note, deadline_s=30)
    await thread.end(deadline_s=30)
    assert (len(made_by), len(set(made_by)), threads.used) == (4, 1, 0)
    assert made_by[0] != threading.get_ident()


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["late", "cancelled"])
async def test_after_a_late_call_the_thread_accepts_no_other_and_ends_when_it_returns(
    *, is_cancelled: bool
) -> None:
    threads, back, said = FileThreads(2), threading.Event(), list[str]()
    thread = FileThread(
        threads, at_end=lambda: said.append("at end"), on_end=lambda: said.append("ended")
    )
    if is_cancelled:
        caller = asyncio.create_task(thread.call(back.wait, deadline_s=60))
        await until(lambda: threads.used == 1)
        caller.cancel()
        await asyncio.wait([caller])
    else:
        with pytest.raises(VolumeError, match="did not answer within"):
            await thread.call(back.wait, deadline_s=0.05)
    with pytest.raises(VolumeError, match="hangs"):
        await thread.call(lambda: said.append("another call"), deadline_s=60)
    await thread.end(deadline_s=60)
    assert (threads.used, threads.hanging, said) == (1, 1, [])
    assert await threads.call_once(lambda: 1, deadline_s=30) == 1  # others go on

    back.set()
    await until(lambda: not threads.used)
    assert (threads.hanging, said) == (0, ["at end", "ended"])


async def test_an_end_that_hangs_is_left_behind_and_counted() -> None:
    threads, back = FileThreads(1), threading.Event()

    def wait() -> None:
        back.wait()

    thread = FileThread(threads, at_end=wait)
    await thread.call(lambda: None, deadline_s=30)
    await thread.end(deadline_s=0.05)
    assert (threads.used, threads.hanging) == (1, 1)
    back.set()
    await until(lambda: not threads.used)
    assert threads.hanging == 0


async def test_a_thread_that_cannot_be_started_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads, ended = FileThreads(1), list[int]()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        thread = FileThread(threads, on_end=lambda: ended.append(1))
        with pytest.raises(RuntimeError):
            await thread.call(lambda: 1, deadline_s=30)
        await thread.end(deadline_s=30)
    assert (threads.used, ended) == (0, [1])
    assert await threads.call_once(lambda: 1, deadline_s=30) == 1
