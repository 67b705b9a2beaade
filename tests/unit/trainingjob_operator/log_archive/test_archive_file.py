"""The archive file: complete sections, each pod once, wherever its writer died."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_api.errors import ArchiveBusyError
from trainingjob_api.log_sections import Prefixer, Section
from trainingjob_operator.log_archive.archive_file import LIMIT, ArchiveFile

NAME = "job_1.log"
PART = 40


class DiedError(Exception):
    """The writer's process is dead."""


class MortalFile(ArchiveFile):
    """An archive whose writer dies after so many bytes; a truncation counts as one."""

    life = 10**9

    def _append(self, at: int, data: bytes) -> None:
        part = data[: MortalFile.life]
        MortalFile.life -= len(part)
        super()._append(at, part)
        if len(part) < len(data):
            raise DiedError

    def _truncate(self, size: int) -> None:
        if MortalFile.life < 1:
            raise DiedError
        MortalFile.life -= 1
        super()._truncate(size)


@dataclass
class Root:
    """A volume's root."""

    path: Path
    fd: int

    def text(self) -> bytes:
        return (self.path / NAME).read_bytes()

    def put(
        self,
        section: Section,
        log: bytes,
        *,
        limit: int = LIMIT,
        kind: type[ArchiveFile] = ArchiveFile,
    ) -> bool:
        """Archive a log as the operator does; False: it is there already."""
        with closing(kind.open(self.fd, NAME, limit=limit)) as file:
            if file.find(section.pod) is not None:
                return False
            file.begin(section)
            lines = Prefixer(section.rank)
            for start in range(0, len(log), PART):
                file.write(lines.feed(log[start : start + PART]))
            file.write(lines.end())
            file.finish()
            return True


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield Root(tmp_path, fd)
    os.close(fd)


def section(rank: int = 0, attempt: int = 0, pod: str | None = None) -> Section:
    return Section(attempt=attempt, rank=rank, pod=pod or f"pod-{attempt}-{rank}")


def bodies(text: bytes) -> list[tuple[str, bytes]]:
    """The pods in a file and what their sections say, read from the top by headers alone."""
    found: list[tuple[str, list[bytes]]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(b"==> attempt "):
            found.append((line.split()[-1].decode(), []))
        elif not line.startswith(b"<== attempt "):
            found[-1][1].append(line)
    return [(pod, b"".join(lines)) for pod, lines in found]


def test_every_line_has_its_rank(root: Root) -> None:
    root.put(section(rank=3), b"hello\n\nwith no end")
    assert root.text() == (
        b"==> attempt 0 rank 3 pod pod-0-3\n"
        b"[rank 3] hello\n[rank 3] \n[rank 3] with no end\n"
        b"<== attempt 0 rank 3 pod pod-0-3 bytes 46 cut 0\n"
    )


def test_a_pod_is_archived_once_and_others_are_added(root: Root) -> None:
    assert root.put(section(0), b"a\n")
    assert root.put(section(1), b"")
    assert not root.put(section(0), b"other\n")
    assert root.put(section(0, attempt=1), b"b\n")
    assert [pod for pod, _ in bodies(root.text())] == ["pod-0-0", "pod-0-1", "pod-1-0"]


def test_of_a_long_log_the_newest_lines_stay(root: Root) -> None:
    log = b"".join(b"line %d\n" % number for number in range(1000))
    root.put(section(), log, limit=300)
    ((_, body),) = bodies(root.text())
    assert body.endswith(b"[rank 0] line 998\n[rank 0] line 999\n")
    assert 300 - 20 <= len(body) <= 300
    with closing(ArchiveFile.open(root.fd, NAME, limit=300)) as file:
        found = file.find("pod-0-0")
    assert found is not None
    assert log[found.cut :] == body.replace(b"[rank 0] ", b"")


def test_of_an_overlong_line_the_end_is_kept_with_its_rank(root: Root) -> None:
    root.put(section(), b"x" * 5000 + b"last", limit=300)
    ((_, body),) = bodies(root.text())
    assert body.startswith(b"[rank 0] x")
    assert body.endswith(b"xlast\n")
    assert len(body) <= 301
    with closing(ArchiveFile.open(root.fd, NAME, limit=300)) as file:
        found = file.find("pod-0-0")
    assert found is not None
    assert found.cut + len(body.removeprefix(b"[rank 0] ")) == 5004 + len(b"\n")


def test_a_full_log_is_cut_to_ten_mebibytes(root: Root) -> None:
    log = b"".join(b"%07d %s\n" % (number, b"x" * 1015) for number in range(12 * 1024))
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        file.begin(section())
        lines = Prefixer(0)
        for start in range(0, len(log), 65_536):
            file.write(lines.feed(log[start : start + 65_536]))
        file.finish()
        cut = file.cut
    ((_, body),) = bodies(root.text())
    assert log[cut:] == body.replace(b"[rank 0] ", b"")
    assert LIMIT - 2000 < len(body) <= LIMIT
    assert body.splitlines()[-1].startswith(b"[rank 0] 0012287 ")


@pytest.mark.parametrize(
    "log",
    [
        b"<== attempt 0 rank 1 pod pod-0-1 bytes 0 cut 0\n",
        b"==> attempt 0 rank 1 pod pod-0-1\n<== attempt 0 rank 1 pod pod-0-1 bytes 0 cut 0\n",
    ],
)
def test_a_rank_cannot_forge_a_section(root: Root, log: bytes) -> None:
    root.put(section(0), log)
    assert root.put(section(1), b"mine\n")
    assert dict(bodies(root.text()))["pod-0-1"] == b"[rank 1] mine\n"


def test_what_is_there_and_not_ours_stays(root: Root) -> None:
    (root.path / NAME).write_bytes(b"an older tool wrote this\nand this")
    root.put(section(), b"mine\n")
    assert root.text().startswith(b"an older tool wrote this\nand this\n==> attempt 0 ")
    assert not root.put(section(), b"mine\n")


def test_nothing_is_written_through_a_link(root: Root) -> None:
    victim = root.path / "victim"
    victim.write_text("precious")
    (root.path / NAME).symlink_to(victim)
    with pytest.raises(OSError, match=NAME):
        root.put(section(), b"mine\n")
    (root.path / NAME).unlink()
    (root.path / NAME).hardlink_to(victim)
    with pytest.raises(PermissionError):
        root.put(section(), b"mine\n")
    assert victim.read_text() == "precious"


def test_a_named_pipe_instead_of_the_file_blocks_nothing(root: Root) -> None:
    os.mkfifo(root.path / NAME)
    with pytest.raises(OSError, match=NAME):
        root.put(section(), b"mine\n")


LOGS = st.lists(
    st.binary(max_size=12) | st.sampled_from([b"<== attempt 0 rank 0 pod a bytes 0 cut 0", b""]),
    max_size=30,
).map(b"\n".join)


@settings(max_examples=100)
@given(
    logs=st.lists(LOGS, min_size=1, max_size=3),
    deaths=st.lists(st.integers(0, 1500), max_size=3),
    limit=st.sampled_from([60, 200, 100_000]),
)
def test_wherever_the_writer_dies_each_pod_has_one_whole_section(
    tmp_path_factory: pytest.TempPathFactory, logs: list[bytes], deaths: list[int], limit: int
) -> None:
    path = tmp_path_factory.mktemp("root")
    fd = os.open(path, os.O_RDONLY)
    try:
        root, undisturbed = Root(path, fd), Root(path / "other", fd)
        for life in deaths:
            MortalFile.life = life
            with suppress(DiedError):
                for rank, log in enumerate(logs):
                    root.put(section(rank), log, limit=limit, kind=MortalFile)
        MortalFile.life = 10**9
        for rank, log in enumerate(logs):
            root.put(section(rank), log, limit=limit, kind=MortalFile)
        found = root.text()
        (path / NAME).unlink()
        for rank, log in enumerate(logs):
            undisturbed.put(section(rank), log, limit=limit)
        assert found == (path / NAME).read_bytes()
    finally:
        os.close(fd)


@settings(max_examples=60)
@given(cut=st.integers(0, 400), log=LOGS)
def test_cut_off_at_any_byte_it_is_mended(
    tmp_path_factory: pytest.TempPathFactory, cut: int, log: bytes
) -> None:
    path = tmp_path_factory.mktemp("root")
    fd = os.open(path, os.O_RDONLY)
    try:
        root = Root(path, fd)
        root.put(section(0), log)
        root.put(section(1), log)
        whole = root.text()
        os.truncate(path / NAME, min(cut, len(whole)))
        root.put(section(0), log)
        root.put(section(1), log)
        assert root.text() == whole
    finally:
        os.close(fd)


def test_abandoned_a_section_is_removed_and_what_is_whole_stays(root: Root) -> None:
    root.put(section(0), b"one\n")
    before = root.text()
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        file.abandon()  # nothing was begun
        file.begin(section(1))
        file.write(b"[rank 1] half")
        file.abandon()
        assert root.text() == before


# --- two writers ----------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_while_one_writes_another_gets_archive_busy(root: Root) -> None:
    root.put(section(0), b"one\n")
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        file.begin(section(1))
        with pytest.raises(ArchiveBusyError, match="lock"):
            root.put(section(2), b"three\n")
        file.write(b"[rank 1] two\n")
        file.finish()
    root.put(section(2), b"three\n")
    assert [pod for pod, _ in bodies(root.text())] == ["pod-0-0", "pod-0-1", "pod-0-2"]


def test_of_two_that_create_the_file_one_gets_archive_busy(root: Root) -> None:
    with closing(ArchiveFile.open(root.fd, NAME)) as late:
        root.put(section(0), b"one\n")
        with pytest.raises(ArchiveBusyError):
            late.begin(section(0))
    assert [pod for pod, _ in bodies(root.text())] == ["pod-0-0"]


@pytest.mark.parametrize("at", ["write", "finish"])
@pytest.mark.parametrize("other", [section(1), section(0)], ids=["another pod", "the same pod"])
@pytest.mark.usefixtures("no_locks")
def test_without_locks_nothing_is_called_whole_that_another_writer_has_removed(
    root: Root, other: Section, at: str
) -> None:
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        file.begin(section(0))
        file.write(b"[rank 0] mine\n")
        root.put(other, b"theirs, and much longer\n")
        theirs = root.text()
        with pytest.raises(ArchiveBusyError):
            file.write(b"[rank 0] more\n") if at == "write" else file.finish()
        file.abandon()
        assert root.text() == theirs
    root.put(section(0), b"mine\nmore\n")
    pods = [pod for pod, _ in bodies(root.text())]
    assert pods == sorted({"pod-0-0", other.pod}, reverse=True)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_section_of_the_same_length_is_not_taken_for_ones_own(root: Root) -> None:
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        file.begin(section(0))
        file.write(b"[rank 0] mine\n")
        with closing(ArchiveFile.open(root.fd, NAME)) as second:
            second.begin(section(1))
            second.write(b"[rank 1] ours\n")
            with pytest.raises(ArchiveBusyError):
                file.finish()
            file.abandon()
            second.finish()
    assert bodies(root.text()) == [("pod-0-1", b"[rank 1] ours\n")]


# --- containers beside the main one ---------------------------------------------------------------


def test_a_container_beside_the_main_one_has_a_section_of_its_own(root: Root) -> None:
    init = Section(attempt=0, rank=3, pod="pod-0-3", container="fetch")
    assert root.put(init, b"no such bucket\n")
    assert root.put(section(3), b"")
    assert not root.put(init, b"again\n")
    assert root.text().startswith(b"==> attempt 0 rank 3 pod pod-0-3 container fetch\n[rank 3] no")
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        assert file.ranks_of(0) == {3}
        assert file.ranks_of(1) == frozenset()


def test_where_nothing_is_begun_no_file_stays(root: Root) -> None:
    with closing(ArchiveFile.open(root.fd, NAME)) as file:
        assert file.find("pod-0-0") is None
        assert file.size == 0
        file.abandon()
    assert list(root.path.iterdir()) == []
