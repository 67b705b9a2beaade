"""A volume with canaries beside it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.volume.volume import (
    Volume,
    everything_below,
)
from trainingjob_operator.volume import safe_open
from trainingjob_operator.volume.sweep import deleter_pool as deleters

LARGE = frozenset({"test_entry_remover_swaps", "test_sweep_sick_volumes", "test_tree_age_shapes"})
"""Their trees are large. Without openat2, which other tests of a quick run have, they are long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        case = getattr(item, "callspec", None)
        if item.path.stem in LARGE and case and case.params.get("volume") == "openat":
            item.add_marker(pytest.mark.long)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory that may become a root."""
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture(params=["openat2", "openat", "processes"])
def volume(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Volume]:
    """A volume with canaries beside it; they have to live on.

    With and without openat2, and with processes that do all the deleting.
    """
    if request.param == "openat":
        monkeypatch.setattr(safe_open, "has_openat2", lambda: False)
    elif request.param == "processes":
        monkeypatch.setattr(deleters, "MIN_FILES_FOR_PROCESS", 0)
        monkeypatch.setattr(deleters, "MIN_FILES_TO_SEND", 0)
    elif not safe_open.has_openat2():
        pytest.skip("this kernel, or its container, has no openat2")
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    for name in ("canary", "below/canary", ".keep"):
        (outside / name).write_text("alive")
    before = everything_below(outside)
    yield Volume(tmp_path / "volume")
    # pytest's own removal of old folders takes neither deep trees nor long paths.
    subprocess.run(["rm", "-rf", tmp_path / "volume"], check=True)
    assert everything_below(outside) == before
