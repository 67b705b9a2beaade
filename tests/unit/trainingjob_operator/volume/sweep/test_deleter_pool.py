"""The pool of deleter processes: real ones, which are killed, hang and are abandoned."""

import errno
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes.processes import children, state
from tests.support.volume.volume import new_uid, wait_until
from trainingjob_operator.volume.sweep import deleter_pool as module
from trainingjob_operator.volume.sweep.budget import BudgetError
from trainingjob_operator.volume.sweep.deleter_pool import (
    MIN_FILES_FOR_PROCESS,
    MIN_FILES_TO_SEND,
    Deleter,
    DeleterPool,
    Deletion,
)
from trainingjob_operator.volume.sweep.trash import Trash


def go_on() -> None:
    """There is time left."""


class Bench:
    """A trash with trees in it, and what was said of their deletion."""

    def __init__(self, path: Path) -> None:
        self.path = path / ".trash"
        self.path.mkdir()
        self.settled: list[Deletion] = []
        self.settle: Callable[[Deletion], None] = self.settled.append

    def tree(self, files: int, *, name: str = "", below: int = 0) -> Deletion:
        origin = name or f"job_{new_uid()}"
        top = self.path / f"r.{os.urandom(6).hex()}.{origin}"
        folder = top.joinpath(*("d" * below))
        folder.mkdir(parents=True)
        for number in range(files):
            (folder / f"file-{number}").touch()
        return Deletion(top.name, origin)

    @contextmanager
    def deleters(
        self, *, limit: int = 2, tick: Callable[[], None] = go_on, device: int | None = None
    ) -> Iterator[DeleterPool]:
        fd = os.open(self.path, os.O_RDONLY)
        trash = Trash(fd, os.fstat(fd).st_dev if device is None else device, tick)
        deleters = DeleterPool(trash, limit=limit, tick=tick, settle=self.settle)
        try:
            yield deleters
        finally:
            deleters.close()
            trash.close()

    def left(self) -> list[str]:
        return sorted(each.name for each in self.path.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def deleter(bench: Bench) -> Iterator[Deleter]:
    """One process, without a sweep."""
    fd = os.open(bench.path, os.O_RDONLY)
    one = Deleter(Trash(fd, os.fstat(fd).st_dev, go_on))
    try:
        yield one
    finally:
        one.end()
        os.close(fd)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every deletion is worth a process."""
    monkeypatch.setattr(module, "MIN_FILES_FOR_PROCESS", 0)
    monkeypatch.setattr(module, "MIN_FILES_TO_SEND", 0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has to wait for a processor is not taken for one that the volume holds."""
    monkeypatch.setattr(module, "_GRACE_MS", 60_000)
    monkeypatch.setattr(module, "_GRACE_S", 60.0)


def outcomes(bench: Bench) -> list[tuple[int, int, bool]]:
    return [(each.tally.files, each.tally.directories, each.done) for each in bench.settled]


def test_a_few_files_are_not_worth_a_process(bench: Bench) -> None:
    with bench.deleters() as deleters:
        for _ in range(3):
            deleters.delete(bench.tree(100), files=100)
        assert deleters.running == 0
    assert outcomes(bench) == [(100, 1, True)] * 3
    assert bench.left() == []


def test_many_files_are_but_a_small_tree_among_them_is_not(bench: Bench) -> None:
    with bench.deleters() as deleters:
        deleters.delete(bench.tree(10), files=MIN_FILES_FOR_PROCESS)
        assert deleters.running == 1
        deleters.finish()
        deleters.delete(bench.tree(1), files=MIN_FILES_TO_SEND - 1)
        assert len(bench.settled) == 2  # done at once, and here
    assert bench.left() == []


@pytest.mark.usefixtures("at_once", "patient")
def test_each_of_many_trees_is_deleted_and_told_of_once(bench: Bench) -> None:
    deletions = [bench.tree(number, below=number % 30) for number in range(100)]
    gc.collect()  # closes what earlier tests have left open: otherwise fewer files are open afterwards
    before = entries(Path("/proc/self/fd"))
    with bench.deleters(limit=2) as deleters:
        for deletion in deletions:
            deleters.delete(deletion, files=1)
            assert deleters.running <= 2
        deleters.finish()
        assert deleters.running == 2
    assert sorted(id(each) for each in bench.settled) == sorted(map(id, deletions))
    assert [(d.tally.files, d.tally.directories, d.done, d.error) for d in deletions] == [
        (number, 1 + number % 30, True, None) for number in range(100)
    ]
    assert bench.left() == []
    assert entries(Path("/proc/self/fd")) <= before
    assert children() == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "name",
    ["job_\udcff\udcfe", "job_a\nb", "job_\x1b[31m", "job_" + "x" * 200, "job_" + "\u20ac" * 60],
)
def test_whatever_bytes_are_in_a_name(bench: Bench, name: str) -> None:
    with bench.deleters() as deleters:
        deleters.delete(bench.tree(1, name=name), files=1)
        deleters.finish()
        assert deleters.running == 1
    assert outcomes(bench) == [(1, 1, True)]
    assert bench.left() == []


@pytest.mark.usefixtures("at_once")
def test_an_error_comes_back_and_the_process_goes_on(bench: Bench) -> None:
    with bench.deleters(device=0) as deleters:  # everything seems to be mounted from elsewhere
        for _ in range(3):
            deleters.delete(bench.tree(1), files=1)
        deleters.finish()
        assert deleters.running == 2
    assert [each.error and each.error.errno for each in bench.settled] == [errno.EXDEV] * 3
    assert all(name.startswith("x.") for name in bench.left())


@pytest.mark.usefixtures("at_once")
def test_what_has_gone_already_is_done(bench: Bench) -> None:
    with bench.deleters() as deleters:
        deleters.delete(Deletion(f"x.{'0' * 12}.job_a", "job_a"), files=1)
        deleters.delete(Deletion(f"r.{'0' * 12}.job_a", "job_a"), files=1)
        deleters.finish()
    assert outcomes(bench) == [(0, 0, True)] * 2


@pytest.mark.usefixtures("at_once")
def test_where_no_process_can_be_started_the_sweep_deletes_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(*_: object, **__: object) -> None:
        tries.append(1)
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with bench.deleters() as deleters:
        for _ in range(3):
            deleters.delete(bench.tree(5), files=5)
    assert outcomes(bench) == [(5, 1, True)] * 3
    assert len(tries) == 1
    assert bench.left() == []


@pytest.mark.usefixtures("at_once", "patient")
def test_of_one_that_dies_the_rest_is_deleted_here(bench: Bench) -> None:
    with bench.deleters(limit=2) as deleters:
        deleters.delete(bench.tree(1), files=1)
        deleters.finish()
        (victim,) = children()
        os.kill(victim, signal.SIGSTOP)  # it dies with questions that it has not read
        for _ in range(4):
            deleters.delete(bench.tree(3), files=3)
        os.kill(victim, signal.SIGKILL)
        for _ in range(10):
            deleters.delete(bench.tree(3), files=3)
        deleters.finish()
        assert deleters.running <= 1
    assert outcomes(bench) == [(1, 1, True)] + [(3, 1, True)] * 14
    assert bench.left() == []
    assert children() == []


@pytest.mark.usefixtures("at_once")
def test_where_none_can_begin_the_sweep_deletes_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the package is found through the working directory alone."""
    monkeypatch.setattr(module, "_MODULE", "trainingjob_operator.there_is_none")
    with bench.deleters() as deleters:
        for _ in range(30):
            deleters.delete(bench.tree(3), files=3)
        deleters.finish()
        assert deleters.running == 0
    assert outcomes(bench) == [(3, 1, True)] * 30
    assert bench.left() == []


@pytest.mark.usefixtures("at_once", "patient")
def test_when_the_time_is_over_all_end_in_mid_work_and_say_what_they_did(bench: Bench) -> None:
    total = 20_000
    deletion = bench.tree(total)
    left = end_in_the_middle_of(deletion, total, bench)
    assert 0 < deletion.tally.files == total - left


@pytest.mark.usefixtures("at_once", "patient")
def test_it_ends_soon_in_a_tree_of_many_small_directories_too(bench: Bench) -> None:
    total = 3_000
    deletion = bench.tree(0)
    for number in range(total):
        folder = bench.path / deletion.name / f"d-{number}"
        folder.mkdir()
        (folder / "file").touch()
    left = end_in_the_middle_of(deletion, total, bench)
    assert 0 < deletion.tally.directories == total - left < total


@pytest.mark.usefixtures("at_once", "patient")
def test_each_answer_counts_whatever_another_one_raises(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    told: list[Deletion] = []

    def settle(deletion: Deletion) -> None:
        told.append(deletion)
        if len(told) == 1:
            raise OSError(errno.EROFS, "Read-only file system")

    bench.settle = settle
    deletions = [bench.tree(1) for _ in range(6)]

    def work() -> None:
        with bench.deleters(limit=1) as deleters:
            for deletion in deletions:
                deleters.delete(deletion, files=1)
            deleters.finish()

    with pytest.raises(OSError, match="Read-only"):
        work()
    assert sorted(map(id, told)) == sorted(map(id, deletions))
    # One may be interrupted between its file and its directory: only the file is gone then.
    files_left = sum(entries(bench.path / name) for name in bench.left())
    assert sum(each.tally.files for each in told) == 6 - files_left
    assert children() == []


@pytest.mark.usefixtures("at_once")
def test_one_that_is_held_up_is_left_behind(bench: Bench) -> None:
    """As by a file system whose server has gone; SIGSTOP is what can be had here."""
    with bench.deleters() as deleters:
        deleters.delete(bench.tree(1), files=1)
        deleters.finish()
        (held,) = children()
        os.kill(held, signal.SIGSTOP)
        deleters.delete(bench.tree(1), files=1)
    assert outcomes(bench) == [(1, 1, True), (0, 0, False)]
    wait_until(lambda: state(held) == "")  # killed, and waited for


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    deletion = bench.tree(1)
    script = f"""
import os, signal
from trainingjob_operator.volume.sweep.deleter_pool import Deletion, Deleter
from trainingjob_operator.volume.sweep.trash import Trash
fd = os.open({str(bench.path)!r}, os.O_RDONLY)
deleter = Deleter(Trash(fd, os.fstat(fd).st_dev, lambda: None))
deleter.ask(Deletion({deletion.name!r}, {deletion.origin!r}))
deleter.is_ready(30_000)
print(deleter.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: state(int(done.stdout)) in {"Z", ""})
    assert bench.left() == []
    assert done.stderr == ""


def test_a_process_is_idle_in_its_io_and_nice(bench: Bench, deleter: Deleter) -> None:
    deletion = bench.tree(1)
    deleter.ask(deletion)
    assert deleter.answer() is deletion
    pid = deleter.process.pid
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(ours + 10, 19)  # the tests may be nice, too
    shown = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("idle")


def test_a_process_takes_little_memory_however_wide_a_directory_is(
    bench: Bench, deleter: Deleter
) -> None:
    peaks = []
    for files in (1, 20_000):
        deleter.ask(bench.tree(files))
        assert deleter.answer().tally.files == files
        status = Path(f"/proc/{deleter.process.pid}/status").read_text()
        peaks.append(int(status.partition("VmHWM:")[2].split()[0]))
    assert peaks[0] < 32 * 1024  # KiB
    assert peaks[1] < peaks[0] + 2 * 1024


def test_ctrl_c_is_for_the_parent_alone(deleter: Deleter) -> None:
    """A terminal sends it to a group of processes."""
    assert os.getpgid(deleter.process.pid) == deleter.process.pid != os.getpgid(0)


def test_all_that_are_held_up_are_given_one_second_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    really, really_ask = Deleter.is_ready, Deleter.ask

    def is_ready(self: Deleter, wait_ms: int) -> bool:
        asked.append(wait_ms)
        return really(self, wait_ms)

    def ask(self: Deleter, deletion: Deletion) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)  # before it can have answered
        really_ask(self, deletion)

    monkeypatch.setattr(Deleter, "is_ready", is_ready)
    monkeypatch.setattr(Deleter, "ask", ask)
    monkeypatch.setattr(module, "MIN_FILES_FOR_PROCESS", 0)
    monkeypatch.setattr(module, "MIN_FILES_TO_SEND", 0)
    with bench.deleters(limit=4) as deleters:
        for _ in range(4):
            deleters.delete(bench.tree(1), files=1)
        assert deleters.running == 4
    assert sum(asked) <= 1000
    assert [each.done for each in bench.settled] == [False] * 4
    wait_until(lambda: children() == [])


def end_in_the_middle_of(deletion: Deletion, total: int, bench: Bench) -> int:
    """Have the time be over as soon as something in it has gone; how much is left."""

    def tick() -> None:
        (folder,) = bench.path.iterdir()
        if entries(folder) < total:
            raise BudgetError("the sweep has used up its time")

    with bench.deleters(tick=tick) as deleters:
        deleters.delete(deletion, files=total)
        with pytest.raises(BudgetError):
            deleters.finish()
    assert bench.settled == [deletion]
    assert not deletion.done
    assert deletion.error is None
    assert children() == []
    (folder,) = bench.path.iterdir()
    return entries(folder)


def entries(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())
