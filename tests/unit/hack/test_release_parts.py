"""Tests of a release's other steps: files of its commit, and the comparison with a second build."""

import shutil
from pathlib import Path

import pytest

from hack.image.build import Tree, labels, wheels_name
from hack.release import source
from hack.release.__main__ import differences
from hack.release.source import ReleaseError, export, refuse_other_tools
from tests.support.repository import ROOT

LOCKS = ("requirements-build.lock", "requirements-operator.lock")


def tree_with(folder: Path, lock: str) -> Path:
    folder.mkdir()
    for name in LOCKS:
        (folder / name).write_text(lock)
    return folder


def test_the_wheels_are_those_that_the_locks_of_the_tree_name(tmp_path: Path) -> None:
    first, other = tree_with(tmp_path / "first", "a"), tree_with(tmp_path / "other", "b")
    assert wheels_name(first) == wheels_name(tree_with(tmp_path / "same", "a"))
    assert wheels_name(first) != wheels_name(other)
    assert wheels_name(other) != wheels_name(ROOT)


def test_the_label_of_the_image_has_the_version_of_the_tree(tmp_path: Path) -> None:
    tree = Tree(folder=tmp_path, version="9.9.9", revision="c0ffee", epoch=0)
    assert labels(tree) == {
        "version": "9.9.9",
        "revision": "c0ffee",
        "created": "1970-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.whl", "changed", ["a.whl: "]),
        ("SHA256SUMS", "changed", ["SHA256SUMS: "]),
        ("more", "", ["more: not there, then "]),
        ("a.whl", None, ["a.whl: "]),
        ("a.whl", "same", []),
    ],
)
def test_a_second_release_differs_when_a_file_does_whatever_the_lists_say(
    tmp_path: Path, name: str, content: str | None, said: list[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "a.whl").write_text("same")
        (folder / "SHA256SUMS").write_text("1  a.whl")
    if content is None:
        (second / name).unlink()
    else:
        (second / name).write_text(content)
    found = differences(first, second)
    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert line.startswith(words)


def test_tools_that_are_not_committed_make_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("a release is made from a clone, and this is none")
    clone = tmp_path / "clone"
    source._git("clone", "--quiet", "--shared", str(ROOT), str(clone))
    monkeypatch.setattr(source, "ROOT", clone)
    refuse_other_tools()
    (clone / "README.md").write_text("not committed, and in no release")
    refuse_other_tools()
    assert (
        export(tmp_path / "tree").tree / "README.md"
    ).read_text() != "not committed, and in no release"
    (clone / "hack/release/image.py").write_text("")
    with pytest.raises(ReleaseError, match=r"hack/release/image\.py"):
        refuse_other_tools()
