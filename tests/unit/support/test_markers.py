"""A test that measures the machine runs alone, for as long as it measures."""

import fcntl
from pathlib import Path

import pytest

from tests.support.markers import worker_lock


def is_free(folder: Path, operation: int) -> bool:
    """True if another process could get the lock now, shared or alone."""
    with (folder / "room.lock").open("w") as room:
        try:
            fcntl.flock(room, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_test_that_is_alone_lets_the_others_in_when_it_has_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with worker_lock(tmp_path, alone=True) as lock:
        assert not is_free(tmp_path, fcntl.LOCK_SH)
        lock.downgrade()
        assert is_free(tmp_path, fcntl.LOCK_SH)
        assert not is_free(tmp_path, fcntl.LOCK_EX), "another one that measures waits for its end"
    assert is_free(tmp_path, fcntl.LOCK_EX)


def test_tests_that_measure_nothing_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with worker_lock(tmp_path, alone=False):
        assert is_free(tmp_path, fcntl.LOCK_SH)
        assert not is_free(tmp_path, fcntl.LOCK_EX)


def test_a_process_that_runs_all_tests_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    with worker_lock(tmp_path, alone=True) as lock:
        lock.downgrade()
        assert list(tmp_path.iterdir()) == []
