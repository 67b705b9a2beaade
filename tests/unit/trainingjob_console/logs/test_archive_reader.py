"""A hung volume: at most four threads, a bounded queue, and clear errors."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.console.archives import section_of, write_archive
from tests.support.console.stalled_process import StalledLoop
from trainingjob_console.errors import BusyError
from trainingjob_console.logs import archive_reader
from trainingjob_console.logs.archive import Archive
from trainingjob_console.logs.archive_reader import MAX_WAITING, THREADS, ArchiveReader

DEADLINE_S = 0.2


class Volume:
    """A volume that can be made to hang."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uid = write_archive(root, section_of(b"one\n"))
        self.answers = threading.Event()
        self.answers.set()
        self.opened = 0

    def open(self, root: Path, uid: str) -> Archive | None:
        self.opened += 1
        assert self.answers.wait(60)
        return Archive.open(root, uid)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self.answers.clear()
        try:
            yield
        finally:
            self.answers.set()


@pytest.fixture
async def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Volume]:
    found = Volume(tmp_path)
    played = type("Played", (), {"open": staticmethod(found.open)})
    monkeypatch.setattr(archive_reader, "Archive", played)
    yield found
    found.answers.set()
    await gone()


def threads() -> int:
    return sum(each.name == "archive" for each in threading.enumerate())


async def gone() -> None:
    """Wait until all reader threads have ended."""
    async with asyncio.timeout(20):
        while threads():
            await asyncio.sleep(0.005)
    await asyncio.sleep(0)


def size(archive: Archive) -> int:
    return archive.size


async def asked(reader: ArchiveReader, uid: str, user: str = "anna") -> str:
    """Return the message of the expected `BusyError`."""
    with pytest.raises(BusyError) as caught:
        await reader.with_archive(uid, size, user=user)
    assert caught.value.status == 503
    assert caught.value.retry_after_s
    return str(caught.value)


async def test_a_hung_volume_blocks_four_threads_and_nothing_else(volume: Volume) -> None:
    reader = ArchiveReader(volume.root, deadline_s=DEADLINE_S)
    with volume.hanging():
        words = await asyncio.gather(
            *(asked(reader, volume.uid, f"user-{number}") for number in range(3 * THREADS))
        )
        assert set(words) == {"the log volume does not respond"}
        for _ in range(100):
            assert "4 reads hang" in await asked(reader, volume.uid)
        assert (volume.opened, threads(), len(reader)) == (THREADS, THREADS, 0)
    await gone()
    assert await reader.with_archive(volume.uid, size, user="anna")
    assert len(reader) == 0


async def test_an_archive_that_was_read_while_the_process_was_stalled_is_returned(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    standstill = StalledLoop(monkeypatch)
    reader = ArchiveReader(volume.root, deadline_s=60)
    with volume.hanging():
        reading = asyncio.create_task(reader.with_archive(volume.uid, size, user="anna"))
        while not volume.opened:
            await asyncio.sleep(0.005)
    # In one step of the event loop: the thread ends, and the deadline passes.
    for thread in threading.enumerate():
        if thread.name == "archive":
            thread.join(60)
    standstill.lasts(300)
    assert await reading
    assert len(reader) == 0


async def test_cancelled_requests_do_not_allow_further_threads(volume: Volume) -> None:
    # Closing the browser tab cancels its request, while the thread still hangs.
    reader = ArchiveReader(volume.root, deadline_s=60)
    with volume.hanging():
        for number in range(1, THREADS + 1):
            task = asyncio.create_task(reader.with_archive(volume.uid, size, user="anna"))
            while volume.opened < number:
                await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.wait([task])
        assert "4 reads hang" in await asked(reader, volume.uid)
        assert threads() == THREADS


async def test_requests_above_the_queue_limit_are_rejected_at_once(volume: Volume) -> None:
    reader = ArchiveReader(volume.root, deadline_s=60)
    with volume.hanging():
        waiting = [
            asyncio.create_task(reader.with_archive(volume.uid, size, user=f"user-{number}"))
            for number in range(MAX_WAITING)
        ]
        while len(reader) < MAX_WAITING:
            await asyncio.sleep(0.005)
        assert "too many" in await asked(reader, volume.uid)
    sizes = await asyncio.gather(*waiting)
    assert len(set(sizes)) == 1
    assert volume.opened == MAX_WAITING
    assert len(reader) == 0


async def test_one_user_has_two_threads_and_the_next_user_the_third(volume: Volume) -> None:
    reader = ArchiveReader(volume.root, deadline_s=60)
    with volume.hanging():
        waiting = [
            asyncio.create_task(reader.with_archive(volume.uid, size, user="anna"))
            for _ in range(MAX_WAITING // 4)
        ]
        while volume.opened < 2:
            await asyncio.sleep(0.005)
        assert "too many" in await asked(reader, volume.uid)
        waiting.append(asyncio.create_task(reader.with_archive(volume.uid, size, user="ben")))
        while volume.opened < 3:
            await asyncio.sleep(0.005)
        assert threads() == 3
    await asyncio.gather(*waiting)
    assert len(reader) == 0


async def test_an_error_in_a_thread_is_raised_by_the_request(tmp_path: Path) -> None:
    reader = ArchiveReader(tmp_path)
    uid = write_archive(tmp_path, b"")

    def broken(_: Archive) -> None:
        raise ZeroDivisionError

    for _ in range(2 * THREADS):
        with pytest.raises(ZeroDivisionError):
            await reader.with_archive(uid, broken, user="anna")
    (tmp_path / f"job_{uid}.log").unlink()
    assert await reader.with_archive(uid, size, user="anna") is None
    assert "cannot be read" in await asked(ArchiveReader(tmp_path / "missing"), uid)
    assert await ArchiveReader(None).with_archive(uid, size, user="anna") is None
