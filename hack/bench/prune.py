"""`python -m hack.bench.prune`: compares the sweep with find on the same directory trees, alternating.

It measures the time to remove everything, the time to decide that nearly everything stays, and the files
that each removes wrongly; for the sweep also the cost of a very wide directory and the lateness of the event
loop. The sweep runs in this process, find in one of its own, whose start counts (a millisecond or two). No
`sync`: both leave that to the kernel. ctimes cannot be set, so the sweep gets a later clock, and find older
mtimes.

All trees are created before any is removed: ext4 reuses no inode that was deleted in the last minutes, and
checks each of them for every new file, so that trees created in between took ten times as long as everything
else. For the same reason a second run is slow to start.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.budget import Limits
from trainingjob_operator.volume.sweep.rules import LiveJobs
from trainingjob_operator.volume.sweep.sweep import LogSweep

_OWNER: Final = Owner("bench", identity="9e4b2f60-1111-4222-8333-0123456789ab")
_WEEK_S: Final = 7 * 86_400.0
_OLD_S: Final = 10 * 86_400
_NOBODY: Final = LiveJobs(frozenset())
_TICK_S: Final = 0.001
_FILES_EACH: Final = 200
_QUESTIONS: Final = ("decide", "harm", "delete", "wide", "lag")


@dataclass(slots=True)
class _Clock:
    """A clock with a fixed wall time and the machine's monotonic time."""

    wall_ns: int = 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ns / 1e9, UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Tree:
    """A volume with a number of directories and of files in each."""

    def __init__(self, path: Path, directories: int, files: int, *, aged: bool = True) -> None:
        """Create it.

        Args:
            path: of its root, which must not exist.
            directories: their number.
            files: number of files in each directory.
            aged: True to set old mtimes for find, which takes as long as creating the files.
        """
        self.path: Final = path
        self.uids: Final = [str(uuid4()) for _ in range(directories)]
        self.files: Final = files
        self._clock: Final = _Clock()
        path.mkdir()
        with Root.open(str(path)) as root:
            root.initialise(_OWNER)
        old = time.time() - _OLD_S if aged else None
        for uid in self.uids:
            self._fill(path / f"job_{uid}", old)
        self.settle()

    def _fill(self, directory: Path, old: float | None) -> None:
        directory.mkdir()
        fd = os.open(directory, os.O_RDONLY)
        for number in range(self.files):
            name = f"file-{number:06d}"
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            if old is not None:
                os.utime(name, (old, old), dir_fd=fd)
        os.close(fd)
        if old is not None:
            os.utime(directory, (old, old))

    def settle(self) -> None:
        """Advance the sweep's clock so that existing files are a week old, and new ones young."""
        probe = self.path / "probe"
        probe.touch()
        border = probe.stat().st_ctime_ns
        probe.unlink()
        time.sleep(0.02)  # the file system's clock ticks every few milliseconds
        self._clock.wall_ns = border + int(_WEEK_S * 1e9) + 1_000_000

    def sweep(self, processes: int) -> LogSweep:
        """Run our sweep, without its limits."""
        return LogSweep(
            str(self.path),
            owner=lambda: _OWNER,
            limits=Limits(100, 1 << 62, 1e9, processes=processes),
            clock=self._clock,
            volume_time_ns=lambda _: self._clock.wall_ns,
        )


@contextmanager
def _timed(into: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    into.append(time.perf_counter() - start)


@contextmanager
def _stage(what: str) -> Iterator[None]:
    """Print a step and its duration."""
    _say(f"  {what} ...")
    seconds: list[float] = []
    with _timed(seconds):
        yield
    _say(f"  {what}: {seconds[0]:.1f} s")


class _Others:
    """Return the number of cores that other processes keep busy, which limits two threads on two cores."""

    def __init__(self) -> None:
        self._start: Final = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        words = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        user, nice, system, _, _, irq, softirq, steal = (float(word) for word in words)
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, sum(os.times()[:4])

    def __str__(self) -> str:
        (begun, busy, own), (ended, busy_now, own_now) = self._start, self._now()
        others = max(0.0, (busy_now - busy) - (own_now - own)) / (ended - begun)
        return f"others used {others:.1f} of {os.cpu_count()} processors"


def _find(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["find", *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def _say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _race(name: str, count: int, ours: list[float], theirs: list[float], other: str) -> None:
    mine, his = statistics.median(ours), statistics.median(theirs)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    _say(
        f"{name}: ours {mine:.3f} s ({count / mine / 1000:.0f}k files/s), "
        f"{other} {his:.3f} s ({count / his / 1000:.0f}k files/s): "
        f"{his / mine:.2f}x (pairs {ratios[0]:.2f}x to {ratios[-1]:.2f}x, {len(ours)} rounds)"
    )


def delete(folder: Path, directories: int, files: int, rounds: int, processes: int) -> None:
    """Measure the removal of everything: the sweep examines each entry twice, find only deletes."""
    ours: list[float] = []
    theirs: list[float] = []
    count = directories * files
    with _stage(f"make {2 * rounds} trees of {count} files"):
        trees = [
            Tree(folder / f"volume-{number}", directories, files, aged=False)
            for number in range(2 * rounds)
        ]
        os.sync()
    for turn in range(rounds):
        others = _Others()
        contestants = [_delete_ours, _delete_find]
        for contestant in contestants if turn % 2 == 0 else reversed(contestants):
            contestant(trees.pop(), ours if contestant is _delete_ours else theirs, processes)
        _say(f"  round {turn + 1}: ours {ours[-1]:.3f} s, find {theirs[-1]:.3f} s; {others}")
    _race(
        f"delete {count} files, {processes} processes",
        count,
        ours,
        theirs,
        "find -mindepth 1 -delete",
    )


def _delete_ours(tree: Tree, seconds: list[float], processes: int) -> None:
    with _timed(seconds):
        report = tree.sweep(processes).sweep(_NOBODY, max_age_s=_WEEK_S)
    if report.files_removed != len(tree.uids) * tree.files or report.errors:
        raise SystemExit(f"ours did not remove everything: {report}")


def _delete_find(tree: Tree, seconds: list[float], processes: int) -> None:
    with _timed(seconds):
        _find(tree.path, "-mindepth", "1", "-delete")


def decide(tree: Tree, rounds: int) -> None:
    """Measure a sweep that removes nothing: live jobs with old files, and young files in old directories."""
    directories, files = len(tree.uids), tree.files
    half = len(tree.uids) // 2
    live = LiveJobs(frozenset(tree.uids[:half]))
    everybody = LiveJobs(frozenset(tree.uids))
    due = tree.uids[half : half + max(1, directories // 1000)]
    with _stage("make half of it young"):
        for uid in tree.uids[half:]:
            if uid not in due:
                for number in range(files):
                    os.utime(tree.path / f"job_{uid}" / f"file-{number:06d}")
    count = directories * files
    times: dict[str, list[float]] = {"both": [], "again": [], "live": [], "find": []}
    for _ in range(rounds):
        sweep = tree.sweep(1)
        with _timed(times["both"]):
            goes = _look(sweep, live)
        with _timed(times["again"]):
            again = _look(sweep, live)
        with _timed(times["find"]):
            _find(tree.path, "-mtime", "+7")
        with _timed(times["live"]):
            _look(tree.sweep(1), everybody)
    if {goes, again} != {len(due)}:
        raise SystemExit(f"ours found {goes}, then {again} entries due instead of {len(due)}")
    share = f"{100 * (1 - len(due) / directories):.1f} % kept, half live, half young"
    find = "find -mtime +7"
    _race(f"decide, {share}, the first sweep", count, times["both"], times["find"], find)
    _race(f"decide, {share}, later ones", count, times["again"], times["find"], find)
    _race("decide, all live", count, times["live"], times["find"], find)
    young = [both - all_live for both, all_live in zip(times["both"], times["live"], strict=True)]
    _say(
        f"  of it: the live half {statistics.median(times['live']) / 2 * 1000:.1f} ms, the young "
        f"half and what is due {statistics.median(young) * 1000:.1f} ms"
    )


def _look(sweep: LogSweep, live: LiveJobs) -> int:
    goes = 0

    def seen(_: object, verdict: object) -> None:
        nonlocal goes
        goes += bool(getattr(verdict, "is_removal", False))

    sweep.dry_run(live, max_age_s=_WEEK_S, on_verdict=seen)
    return goes


def harm(folder: Path) -> None:
    """Count the files of a live job that a typical cron job with find removes."""
    tree = Tree(folder / "harm", 10, 50)
    live = LiveJobs(frozenset(tree.uids))
    before = sum(1 for _ in tree.path.glob("job_*/*"))
    report = tree.sweep(1).sweep(live, max_age_s=_WEEK_S)
    left = sum(1 for _ in tree.path.glob("job_*/*"))
    _say(f"old files of live jobs: {before}; ours removed {report.files_removed}, left {left}")
    _find(tree.path, "-type", "f", "-mtime", "+7", "-delete")
    left = sum(1 for _ in tree.path.glob("job_*/*"))
    _say(f"  find -mtime +7 -delete removed {before - left}, left {left}")


def wide(tree: Tree) -> None:
    """Measure one directory with all the files, which is streamed and takes no memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds: list[float] = []
    _delete_ours(tree, seconds, 1)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    _say(
        f"one directory of {tree.files} files: {seconds[0]:.1f} s, {more / 1024:.1f} MiB more RSS"
    )


def lag(tree: Tree, processes: int) -> None:
    """Measure the lateness of the event loop while the sweep removes the tree."""
    tree.settle()

    async def run() -> tuple[list[float], float]:
        late: list[float] = []
        start = time.perf_counter()
        sweep = asyncio.ensure_future(
            tree.sweep(processes).sweep_in_thread(_NOBODY, max_age_s=_WEEK_S)
        )
        while not sweep.done():
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            late.append(time.perf_counter() - due)
        await sweep
        return sorted(late), time.perf_counter() - start

    late, seconds = asyncio.run(run())
    marks = [late[int(len(late) * share)] * 1000 for share in (0.5, 0.99)]
    _say(
        f"event loop while {len(tree.uids) * tree.files} files go in {seconds:.1f} s: late by "
        f"{marks[0]:.1f} ms (p50), {marks[1]:.1f} ms (p99), {late[-1] * 1000:.1f} ms (max), "
        f"{len(late)} ticks"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.prune", description=__doc__)
    parser.add_argument("--files", type=int, default=200_000, help="in all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--files-each", type=int, default=_FILES_EACH, help="in a directory")
    parser.add_argument("--folder", type=Path, help="where the trees are made (default: tmp)")
    parser.add_argument("--only", choices=_QUESTIONS, action="append")
    arguments = parser.parse_args(argv)
    directories = max(2, arguments.files // arguments.files_each)
    chosen = arguments.only or _QUESTIONS
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        folder = Path(made)
        size = (directories, arguments.files_each)
        load = os.getloadavg()[0]
        _say(f"{directories} directories of {arguments.files_each} files; load {load:.1f}")
        tree = wide_tree = None
        if {"decide", "lag"} & set(chosen):
            with _stage(f"make a tree of {size[0] * size[1]} files, with their times"):
                tree = Tree(folder / "volume", *size)
        if "wide" in chosen:
            with _stage(f"make a directory of {arguments.files} files"):
                wide_tree = Tree(folder / "wide", 1, arguments.files, aged=False)
        if tree is not None and "decide" in chosen:
            decide(tree, arguments.rounds)
        if "harm" in chosen:
            harm(folder)
        if "delete" in chosen:
            delete(folder, *size, arguments.rounds, arguments.processes)
        if wide_tree is not None:
            wide(wide_tree)
        if tree is not None and "lag" in chosen:
            lag(tree, arguments.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
