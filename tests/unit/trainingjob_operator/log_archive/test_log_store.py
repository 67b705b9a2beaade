"""Archives in a real directory, with real threads, and with failures."""

import asyncio
import errno
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.open_files import open_files_below
from tests.support.volume.volume import until
from trainingjob_api.errors import EntryError, VolumeError
from trainingjob_api.log_sections import Section
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive import log_store
from trainingjob_operator.log_archive.archive_file import ArchiveFile
from trainingjob_operator.log_archive.file_threads import FileThreads
from trainingjob_operator.log_archive.log_store import LogStore
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root

KEY = JobKey("ml", "mnist")
UID = "0a1b2c3d-0000-4000-8000-000000000000"
OWNER = Owner(cluster="test", identity="5d1b5f0e-6f43-4c5b-9f3e-0123456789ab")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume that is ours."""
    path = tmp_path / "volume"
    path.mkdir(mode=0o777)
    path.chmod(0o1777)
    with Root.open(str(path)) as root:
        root.claim(OWNER, None)
    return path


@pytest.fixture
def store(volume: Path) -> LogStore:
    return LogStore(str(volume), lambda: OWNER, FileThreads(4))


async def put(store: LogStore, pod: str, *parts: bytes, rank: int = 0) -> bool:
    archive = await store.open(KEY, UID)
    try:
        if await archive.find(pod) is not None:
            return False
        await archive.begin(Section(attempt=0, rank=rank, pod=pod))
        for part in parts:
            await archive.write(part)
        await archive.finish(running=False)
        return True
    finally:
        await archive.close()


async def test_a_jobs_directory_names_its_owner_and_has_the_permissions_of_the_volume(
    store: LogStore, volume: Path
) -> None:
    await store.ensure_job_directory(KEY, UID)
    await store.ensure_job_directory(KEY, UID)
    directory = volume / f"job_{UID}"
    mark = json.loads((directory / ".trainingjob").read_text())
    named = {"uid": UID, "namespace": "ml", "name": "mnist", "cluster": "test"}
    assert mark == named | {"identity": OWNER.identity}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o777


async def test_a_log_is_appended_once(store: LogStore, volume: Path) -> None:
    assert await put(store, "pod-0", b"hel", b"lo\n")
    assert not await put(store, "pod-0", b"again\n")
    assert await put(store, "pod-1", b"there", rank=1)
    text = (volume / f"job_{UID}.log").read_text()
    assert text.splitlines()[1] == "[rank 0] hello"
    assert text.splitlines()[4] == "[rank 1] there"
    assert (volume / f"job_{UID}" / ".trainingjob").exists()


async def test_where_no_volume_is_mounted_nothing_is_written(tmp_path: Path) -> None:
    empty = tmp_path / "volume"
    empty.mkdir()
    store = LogStore(str(empty), lambda: OWNER, FileThreads(4))
    with pytest.raises(VolumeError):
        await store.ensure_job_directory(KEY, UID)
    with pytest.raises(VolumeError):
        await store.open(KEY, UID)
    assert list(empty.iterdir()) == []


async def test_what_was_begun_and_left_is_removed_at_the_end(
    store: LogStore, volume: Path
) -> None:
    await put(store, "pod-0", b"one\n")
    before = (volume / f"job_{UID}.log").read_bytes()
    archive = await store.open(KEY, UID)
    await archive.begin(Section(attempt=0, rank=1, pod="pod-1"))
    await archive.write(b"half a li")
    await archive.close()
    assert (volume / f"job_{UID}.log").read_bytes() == before


async def test_what_cannot_be_removed_at_the_end_is_removed_by_the_next(
    store: LogStore, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: ArchiveFile, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    await put(store, "pod-0", b"one\n")
    before = (volume / f"job_{UID}.log").read_bytes()
    archive = await store.open(KEY, UID)
    await archive.begin(Section(attempt=0, rank=1, pod="pod-1"))
    await archive.write(b"half a li")
    with monkeypatch.context() as patched:
        patched.setattr(ArchiveFile, "_truncate", refuse)
        await archive.close()
    assert (volume / f"job_{UID}.log").read_bytes() > before
    await put(store, "pod-0", b"one\n")
    assert (volume / f"job_{UID}.log").read_bytes() == before


async def test_a_file_with_a_late_call_cannot_be_opened_until_that_call_returns(
    store: LogStore, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, real = threading.Event(), ArchiveFile.write

    def slow(file: ArchiveFile, data: bytes) -> None:
        end.wait()
        real(file, data)

    monkeypatch.setattr(ArchiveFile, "write", slow)
    archive = await store.open(KEY, UID)
    await archive.begin(Section(attempt=0, rank=0, pod="pod-0"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await archive.write(b"late\n")
    await archive.close()
    with pytest.raises(EntryError, match="has not returned"):
        await store.open(KEY, UID)
    await store.ensure_job_directory(
        KEY, "0a1b2c3d-0000-4000-8000-000000000001"
    )  # others are none the wiser

    end.set()
    await until(lambda: not store.threads.used)
    monkeypatch.setattr(ArchiveFile, "write", real)
    assert await put(store, "pod-0", b"now\n")
    assert (volume / f"job_{UID}.log").read_text().splitlines()[1] == "[rank 0] now"


@pytest.mark.parametrize("call", ["open", "find", "write", "finish"])
async def test_a_caller_that_is_cancelled_leaves_no_file_open_and_no_lock_held(
    store: LogStore, volume: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before, is_in_call, back = open_files_below(volume), threading.Event(), threading.Event()
    real = getattr(ArchiveFile, call)

    def slow(*args: Any, **named: Any) -> Any:
        is_in_call.set()
        back.wait()
        return real(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveFile, call, slow)
        writer = asyncio.create_task(put(store, "pod-0", b"one\n"))
        await until(is_in_call.is_set)
        writer.cancel()
        await asyncio.wait([writer])
        with pytest.raises(EntryError, match="has not returned"):
            await store.open(KEY, UID)
        back.set()
        await until(lambda: not store.threads.used)
    assert (store.threads.hanging, open_files_below(volume)) == (0, before)
    await put(store, "pod-0", b"one\n")
    assert (volume / f"job_{UID}.log").read_text().count("[rank 0] one") == 1


async def test_a_volume_that_hangs_is_waited_for_no_longer_than_the_deadline(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    monkeypatch.setattr(log_store, "PREPARE_S", 0.05)
    monkeypatch.setattr(store, "_ensure_directory", lambda mark: end.wait())
    with pytest.raises(VolumeError, match="did not answer"):
        await store.ensure_job_directory(KEY, UID)
    end.set()


async def test_no_file_stays_open(store: LogStore, volume: Path) -> None:
    before = open_files_below(volume)
    for number in range(20):
        await put(store, f"pod-{number}", b"one\n")
    await until(lambda: open_files_below(volume) == before)
