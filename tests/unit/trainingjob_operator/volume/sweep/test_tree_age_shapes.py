"""Trees that are too deep, too wide or oddly named for a simple walk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.open_files import open_files_below
from tests.support.volume.volume import (
    NOBODY,
    WEEK_S,
    Volume,
    new_uid,
)
from trainingjob_operator.volume.layout import printable
from trainingjob_operator.volume.sweep import entry_verdict as judging
from trainingjob_operator.volume.sweep import trash
from trainingjob_operator.volume.sweep import tree_age as walk


def deep_tree(top: Path, depth: int, *, name: str = "d" * 50) -> None:
    """As `mkdir -p` cannot make it: longer than any path may be."""
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT, dir_fd=fd))
    os.close(fd)


def test_three_thousand_levels_go(volume: Volume) -> None:
    deep_tree(volume.path / f"job_{new_uid()}", 3000)
    volume.age()
    before = open_files_below(volume.path)

    report = volume.sweep()

    assert (report.files_removed, report.directories_removed) == (1, 3001)
    assert volume.names() == set()
    assert volume.trash() == []
    assert open_files_below(volume.path) == before


def test_a_young_file_three_thousand_levels_down_keeps_everything(volume: Volume) -> None:
    uid = new_uid()
    deep_tree(volume.path / f"job_{uid}", 3000)
    volume.age()
    touch_deepest(volume.path / f"job_{uid}")
    assert volume.sweep().skipped == {"young": 1}
    volume.age()
    assert volume.sweep().directories_removed == 3001  # else nobody could remove it: not pytest


def touch_deepest(top: Path) -> None:
    fd = os.open(top, os.O_RDONLY)
    while True:
        try:
            below = os.open("d" * 50, os.O_RDONLY, dir_fd=fd)
        except FileNotFoundError:
            break
        os.close(fd)
        fd = below
    file = os.open("file", os.O_WRONLY, dir_fd=fd)
    os.write(file, b"x")
    os.close(file)
    os.close(fd)


def test_directories_that_are_deep_and_wide_are_seen_whole(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far up, directories are closed and streamed on later: none is left out, none seen twice."""
    monkeypatch.setattr(walk, "MAX_OPEN", 2)
    monkeypatch.setattr(trash, "MAX_OPEN", 2)
    monkeypatch.setattr(trash, "MAX_MOVED", 2)
    top = volume.path / f"job_{new_uid()}"
    count = grow(top, width=5, depth=4)
    volume.age()
    verdicts: list[judging.Verdict] = []
    volume.look(lambda _, verdict: verdicts.append(verdict))
    found = verdicts[0].tree
    assert found is not None
    assert (found.files, found.directories) == (2 * count, count)

    report = volume.sweep()

    assert (report.files_removed, report.directories_removed) == (2 * count, count)
    assert volume.trash() == []


def grow(top: Path, *, width: int, depth: int) -> int:
    top.mkdir()
    (top / "first").touch()
    count = 1
    if depth:
        count += sum(grow(top / str(n), width=width, depth=depth - 1) for n in range(width))
    (top / "last").touch()
    return count


HOSTILE = [
    *(b"new\nline", b"\x1b[31mred", b"\xff\xfe", b"-rf", b"*", b"\x01", b" ", b"\xed\xb3\xbf"),
    *(b"x" * 255, "ü".encode(), b"a;rm -rf ~", "\u202ejson".encode(), b"%s", b"'\""),
]


def test_names_of_any_bytes_go_like_others(volume: Volume) -> None:
    top = volume.path / f"job_{new_uid()}"
    for name in HOSTILE:
        (top / os.fsdecode(name)).mkdir(parents=True)
        for inner in HOSTILE:
            (top / os.fsdecode(name) / os.fsdecode(inner)).touch()
    volume.age()
    report = volume.sweep()
    assert (report.files_removed, report.errors) == (len(HOSTILE) ** 2, 0)
    assert volume.names() == set()


def test_entries_with_names_of_any_bytes_are_nobodys_or_go_when_asked_for(volume: Volume) -> None:
    names = [b"job_" + name for name in HOSTILE if len(name) < 200] + [b"job_" + b"x" * 251]
    for name in names:
        (volume.path / os.fsdecode(name)).touch()
    volume.age()
    seen: list[str] = []
    volume.look(lambda entry, _: seen.append(printable(entry.path)))
    assert all(name.isprintable() and name.encode() for name in seen)
    assert volume.sweep().skipped == {"unowned": len(names)}
    volume.legacy = True
    report = volume.sweep()
    assert report.files_removed >= len(names) - 1  # the longest has no room for its new name
    assert volume.trash() == []


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory"])
def test_what_is_no_file_goes_without_being_opened(volume: Volume, kind: str) -> None:
    path = volume.path / f"job_{new_uid()}.log"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        make_socket(path)
    volume.age()
    report = volume.sweep()
    assert report.files_removed + report.directories_removed == 1


def make_socket(path: Path) -> None:
    program = "import socket,sys,os; os.chdir(sys.argv[1]); socket.socket(1).bind(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, path.parent, path.name], check=True)


def test_many_entries_are_streamed(volume: Volume) -> None:
    """A million with TRAININGJOB_TEST_MILLION; the memory that it takes does not grow with them."""
    import tracemalloc  # noqa: PLC0415

    count = 1_000_000 if os.environ.get("TRAININGJOB_TEST_MILLION") else 20_000
    top = volume.path / f"job_{new_uid()}"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"file-{number}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    volume.age()
    tracemalloc.start()
    try:
        report = volume.sweep()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.files_removed == count
    assert peak < 2_000_000


def test_a_sweep_that_is_told_to_stop_ends_and_the_next_one_goes_on(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.tree(f"job_{new_uid()}", files=2000)
    volume.age()
    sweep = volume.new_sweep()
    really = trash.Trash.condemn

    def condemn(self: trash.Trash, name: str, origin: str) -> str:
        sweep.stop()
        return really(self, name, origin)

    monkeypatch.setattr(trash.Trash, "condemn", condemn)
    first = sweep.sweep(NOBODY, max_age_s=WEEK_S)
    assert first.files_removed < 4000
    assert first.skipped == {"capped": 1}
    assert len(volume.trash()) == 1
    second = volume.sweep()
    assert first.files_removed + second.files_removed == 4000
    assert volume.trash() == []
