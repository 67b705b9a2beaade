"""Archives are read in the format that the operator writes; other files are rejected."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.console.archives import section_of, write_archive
from tests.support.open_files import open_files_below
from trainingjob_console.logs import archive as module
from trainingjob_console.logs.archive import Archive, archive_name

UID = "9f3d2c1a-5b7e-4c8d-9a6f-0e1b2c3d4e5f"


def opened(root: Path, uid: str) -> Archive:
    found = Archive.open(root, uid)
    assert found is not None
    return found


LOGS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        # Lines that look like a header, a trailer, or a prefix.
        st.sampled_from(
            [
                b"",
                b"\n",
                b"[rank 0] x\n[rank 1] \n",
                b"==> attempt 0 rank 0 pod x\n",
                b"<== attempt 0 rank 0 pod x bytes 0 cut 0\n",
            ]
        ),
    ),
    max_size=5,
)


@given(logs=LOGS, block=st.integers(1, 40))
@settings(deadline=None, max_examples=200)
def test_each_section_returns_its_log(
    tmp_path_factory: pytest.TempPathFactory, logs: list[bytes], block: int
) -> None:
    root = tmp_path_factory.mktemp("volume")
    sections = [section_of(log, rank=rank, cut=rank) for rank, log in enumerate(logs)]
    uid = write_archive(root, *sections)
    with opened(root, uid) as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        bodies = archive.bodies()
        assert [body.section.rank for body in bodies] == list(range(len(logs)))
        assert [body.cut for body in bodies] == list(range(len(logs)))
        for body, log in zip(bodies, logs, strict=True):
            whole = log if not log or log.endswith(b"\n") else log + b"\n"
            assert b"".join(archive.lines(body)) == whole
        assert b"".join(archive.blocks(0, archive.size)) == b"".join(sections)


def test_complete_sections_are_found_before_one_that_is_being_written(tmp_path: Path) -> None:
    whole = section_of(b"one\n", rank=0) + section_of(b"two\n" * 100_000, rank=1)
    begun = section_of(b"three\n" * 1000, rank=2)[:5000]
    uid = write_archive(tmp_path, whole, begun)
    with opened(tmp_path, uid) as archive:
        assert [body.section.rank for body in archive.bodies()] == [0, 1]
    with opened(tmp_path, write_archive(tmp_path, begun)) as archive:
        assert archive.bodies() == []


def test_the_newest_section_of_a_container_is_returned(tmp_path: Path) -> None:
    uid = write_archive(
        tmp_path,
        section_of(b"old\n"),
        section_of(b"beside\n", container="sidecar"),
        section_of(b"new\n"),
    )
    with opened(tmp_path, uid) as archive:
        for container, log in (("", b"new\n"), ("sidecar", b"beside\n")):
            body = archive.body(0, 0, container)
            assert body is not None
            assert b"".join(archive.lines(body)) == log
        assert archive.body(1, 0, "") is None


def test_sections_appended_after_opening_are_not_read(tmp_path: Path) -> None:
    first = section_of(b"one\n")
    uid = write_archive(tmp_path, first)
    with opened(tmp_path, uid) as archive:
        write_archive(tmp_path, first, section_of(b"two\n", rank=1), uid=uid)
        assert [body.section.rank for body in archive.bodies()] == [0]
        assert b"".join(archive.blocks(0, archive.size)) == first


def test_only_regular_files_with_one_link_are_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    makers: dict[str, Callable[[Path], object]] = {
        "link": lambda path: path.symlink_to(secret),
        "hard link": lambda path: os.link(secret, path),
        "pipe": os.mkfifo,
        "directory": Path.mkdir,
    }
    before = open_files_below(tmp_path)
    for make in makers.values():
        uid = str(uuid4())
        make(tmp_path / f"job_{uid}.log")
        with pytest.raises(OSError, match=r"job_|regular file|symbolic links"):
            Archive.open(tmp_path, uid)
    assert Archive.open(tmp_path, str(uuid4())) is None
    assert open_files_below(tmp_path) == before


def test_an_archive_removed_while_it_is_opened_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = write_archive(tmp_path, section_of(b"one\n"))
    really_open = os.open

    def open_and_remove(path: str, flags: int, **at: int) -> int:
        fd = really_open(path, flags, **at)
        if at:
            os.unlink(path, **at)
        return fd

    before = open_files_below(tmp_path)
    monkeypatch.setattr(os, "open", open_and_remove)
    assert Archive.open(tmp_path, uid) is None
    monkeypatch.undo()
    assert open_files_below(tmp_path) == before


@pytest.mark.parametrize("uid", ["", "..", "../secret", "a" * 36, f"{UID}/x", f"{UID}\n"])
def test_only_a_uid_names_an_archive(tmp_path: Path, uid: str) -> None:
    assert archive_name(uid) is None
    assert Archive.open(tmp_path, uid) is None
