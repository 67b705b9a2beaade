"""Tests of the cache of a built control plane: built once, by one process at a time, and never partly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hack.cache import cache
from hack.cluster import assets
from hack.cluster.assets import AssetsError, build, find, kubernetes_version

COMPILER = """#!/bin/sh
# Stands in for Go: notes that it was called, and makes the file that it was asked for.
[ "$1" = version ] && { echo "go version go1.26.8 linux/amd64"; exit 0; }
echo "$@" >> "$GO_CALLS"
[ -n "$GO_FAILS" ] && exit 1
sleep "${GO_SLEEPS:-0}"
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
[ -d "$out" ] && out=$out/kwok
echo made > "$out"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a compiler that notes its calls in this file."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "go").write_text(COMPILER)
    (tools / "go").chmod(0o755)
    noted = tmp_path / "calls"
    noted.touch()
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_CALLS", str(noted))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return noted


def test_it_is_built_once(calls: Path) -> None:
    assert find() is None
    folder = build()
    assert find() == build() == folder
    assert len(calls.read_text().splitlines()) == 2  # the control plane, and kwok
    for name in ("etcd", "kube-apiserver", "kubectl", "kwok"):
        assert (folder / name).read_text() == "made\n"


def test_its_name_says_what_it_was_built_from(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build()
    assert kubernetes_version() in first.name
    copy = tmp_path / "sources"
    for name in assets._SOURCES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((assets.HERE / name).read_bytes())
    (copy / "main.go").write_text("package main // changed\n")
    monkeypatch.setattr(assets, "HERE", copy)
    assert find() is None
    assert build() != first


def test_a_build_that_fails_leaves_nothing_behind(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO_FAILS", "1")
    with pytest.raises(AssetsError, match="go build"):
        build()
    assert find() is None
    assert [p.name for p in cache().iterdir()] == ["cluster.lock"]


def test_two_builds_at_once_are_one(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO_SLEEPS", "0.5")
    builder = [sys.executable, "-m", "hack.cluster", "build"]
    both = [subprocess.Popen(builder, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {each.communicate(timeout=60)[0] for each in both}
    assert said == {f"{find()}\n"}
    assert len(calls.read_text().splitlines()) == 2


def test_somebodys_own_programs_are_used_instead(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(own))
    with pytest.raises(AssetsError, match="lacks etcd, kube-apiserver"):
        find()
    for name in assets.CONTROL_PLANE:
        (own / name).touch()
    assert build() == own
    assert calls.read_text() == ""


def test_a_build_that_nobody_uses_any_more_makes_room(calls: Path) -> None:
    old = cache() / "cluster-1.0.0-old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    build()
    assert not old.exists()
