"""Errors at the entries of one job do not stop the logs and sweeps of the other jobs."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes.users import without_roots_rights
from trainingjob_api.constants import (
    REASON_PERMISSION_DENIED,
    REASON_READ_ONLY,
    REASON_VOLUME_UNAVAILABLE,
)
from trainingjob_api.errors import EntryError, VolumeError
from trainingjob_api.log_sections import Section
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.log_archive.archive_file import ArchiveFile
from trainingjob_operator.log_archive.file_threads import FileThreads
from trainingjob_operator.log_archive.log_store import LogStore
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.counters import SweepCounters
from trainingjob_operator.volume.sweep.entry_verdict import refusal
from trainingjob_operator.volume.sweep.rules import Reason

KEY: Final = JobKey("ml", "mnist")
UID: Final = "0a1b2c3d-0000-4000-8000-000000000000"
OTHER: Final = "0a1b2c3d-0000-4000-8000-000000000001"
OWNER: Final = Owner(cluster="test", identity="5d1b5f0e-6f43-4c5b-9f3e-0123456789ab")


@pytest.fixture
def volume() -> Iterator[Path]:
    """A volume that is ours, in a place that lets every user in."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    path = place / "volume"
    path.mkdir()
    path.chmod(0o777)
    with without_roots_rights(), Root.open(str(path)) as root:
        root.claim(OWNER, None)
    try:
        yield path
    finally:
        path.chmod(0o700)
        for directory in path.glob("job_*/"):
            directory.chmod(0o700)
        shutil.rmtree(place)


@pytest.fixture
def store(volume: Path) -> LogStore:
    return LogStore(str(volume), lambda: OWNER, FileThreads(4))


async def put(store: LogStore, uid: str) -> None:
    archive = await store.open(KEY, uid)
    try:
        await archive.begin(Section(attempt=0, rank=0, pod="pod-0"))
        await archive.write(b"hello\n")
        await archive.finish(running=False)
    finally:
        await archive.close()


async def test_the_log_of_a_job_that_has_closed_its_directory_is_archived(
    store: LogStore, volume: Path
) -> None:
    (volume / f"job_{UID}").mkdir(mode=0o700)  # root's, if the tests run as root
    (volume / f"job_{UID}").chmod(0)
    with without_roots_rights():
        await put(store, UID)
        with pytest.raises(EntryError, match="the operator has no access"):
            await store.ensure_job_directory(KEY, UID)
        await store.ensure_job_directory(KEY, OTHER)
    assert "[rank 0] hello" in (volume / f"job_{UID}.log").read_text()


def directory(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def link_to_directory(path: Path) -> None:
    path.with_name("elsewhere").mkdir(mode=0o777)
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def second_name(path: Path) -> None:
    beside = path.with_name("beside")
    beside.touch()
    beside.chmod(0o666)
    path.hardlink_to(beside)


def closed_file(path: Path) -> None:
    path.touch()
    path.chmod(0)


LOGS: Final = [directory, link, pipe, second_name, closed_file]


@pytest.mark.parametrize("stands_there", LOGS, ids=lambda each: each.__name__)
async def test_whatever_stands_in_place_of_a_log_is_an_error_of_that_job_alone(
    store: LogStore, volume: Path, stands_there: Callable[[Path], None]
) -> None:
    stands_there(volume / f"job_{UID}.log")
    with without_roots_rights():
        with pytest.raises(EntryError, match=f"job_{UID}.log"):
            await put(store, UID)
        await put(store, OTHER)


@pytest.mark.parametrize(
    "stands_there", [link, link_to_directory, pipe, closed_file], ids=lambda each: each.__name__
)
async def test_whatever_stands_in_place_of_a_directory_costs_no_log(
    store: LogStore, volume: Path, stands_there: Callable[[Path], None]
) -> None:
    stands_there(volume / f"job_{UID}")
    with without_roots_rights():
        with pytest.raises(EntryError, match=f"job_{UID}"):
            await store.ensure_job_directory(KEY, UID)
        await put(store, UID)
    assert not (volume / "elsewhere" / ".trainingjob").exists()


def permit_reading_only(path: Path) -> None:
    path.chmod(0o555)


async def test_a_root_in_which_nothing_can_be_made_is_an_error_of_the_volume(
    store: LogStore, volume: Path
) -> None:
    permit_reading_only(volume)
    with without_roots_rights():
        for attempt in (store.ensure_job_directory(KEY, UID), put(store, UID)):
            with pytest.raises(VolumeError) as caught:
                await attempt
            assert caught.value.reason == REASON_PERMISSION_DENIED


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, REASON_VOLUME_UNAVAILABLE),
        (errno.EDQUOT, REASON_VOLUME_UNAVAILABLE),
        (errno.ESTALE, REASON_VOLUME_UNAVAILABLE),
        (errno.EROFS, REASON_READ_ONLY),
    ],
)
async def test_an_error_that_does_not_depend_on_the_entry_is_the_volumes(
    store: LogStore, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(ArchiveFile, "open", fail)
    with pytest.raises(VolumeError) as caught:
        await store.open(KEY, UID)
    assert caught.value.reason == reason


async def test_a_bad_block_of_one_file_is_an_error_of_that_job_alone(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    archive = await store.open(KEY, UID)
    monkeypatch.setattr(ArchiveFile, "begin", fail)
    with pytest.raises(EntryError, match=f"job_{UID}.log"):
        await archive.begin(Section(attempt=0, rank=0, pod="pod-0"))
    await archive.close()


@pytest.mark.parametrize("code", [errno.ELOOP, errno.ENOTDIR, errno.EIO])
def test_the_sweep_does_not_call_the_root_wrong_for_an_error_at_an_entry(code: int) -> None:
    counters = SweepCounters("/volume")
    counters.kept(refusal(OSError(code, os.strerror(code))))
    report = counters.report(None)
    assert report.reason == REASON_VOLUME_UNAVAILABLE
    assert report.message.startswith("an entry of /volume cannot be read or removed")
    assert report.skipped == {Reason.UNREADABLE: 1}
