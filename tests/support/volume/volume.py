"""Builds volumes to sweep: directory trees with real timestamps, and an adjustable clock.

An inode's change time (ctime) cannot be set, so no file can be made old. Instead `Volume.age()`
advances the sweep's clocks, so that all existing files count as old.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.budget import Limits
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport
from trainingjob_operator.volume.sweep.sweep import LogSweep
from trainingjob_operator.volume.sweep.volume_pass import OnVerdict

WEEK_S = 7 * 86_400.0
OURS = Owner("test", (), identity="5d1b5f0e-6f43-4c5b-9f3e-0123456789ab")
EVERYTHING = Limits(share_percent=100, at_least=1_000_000, seconds=600)
NOBODY = LiveJobs(uids=frozenset())


def new_uid() -> str:
    return str(uuid4())


@dataclass
class AdjustableClock:
    """Wall and monotonic clock with settable times."""

    wall_ns: int = 0
    monotonic_s: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ns / 1e9, UTC)

    def monotonic(self) -> float:
        return self.monotonic_s


@dataclass
class Volume:
    """A claimed volume root, and its sweep."""

    path: Path
    owner: Owner = OURS
    limits: Limits = EVERYTHING
    clock: AdjustableClock = field(default_factory=AdjustableClock)
    legacy: bool = False
    border_ns: int = 0

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)
        with Root.open(str(self.path)) as root:
            root.initialise(self.owner)

    def tree(self, name: str, files: int = 2, content: bytes = b"content") -> Path:
        """Create a directory with files at several levels."""
        top = self.path / name
        (top / "below").mkdir(parents=True)
        for number in range(files):
            (top / f"file-{number}").write_bytes(content)
            (top / "below" / f"file-{number}").write_bytes(content)
        return top

    def log(self, uid: str) -> Path:
        path = self.path / f"job_{uid}.log"
        path.write_text("output\n")
        return path

    def age(self) -> None:
        """Make all existing files old; files created later are young."""
        self.border_ns = moment(self.path.parent)

    def new_sweep(self, *, max_age_s: float = WEEK_S) -> LogSweep:
        """Return a sweep whose cut-off is the time of `age()`; without one, every file is old."""
        border = self.border_ns or moment(self.path.parent)
        self.clock.wall_ns = border + int(max_age_s * 1e9)
        return LogSweep(
            str(self.path),
            owner=lambda: self.owner,
            limits=self.limits,
            clock=self.clock,
            volume_time_ns=lambda _: self.clock.wall_ns,
            legacy=self.legacy,
        )

    def sweep(self, live: LiveJobs = NOBODY, *, max_age_s: float = WEEK_S) -> VolumeReport:
        return self.new_sweep(max_age_s=max_age_s).sweep(live, max_age_s=max_age_s)

    def look(self, seen: OnVerdict, live: LiveJobs = NOBODY) -> VolumeReport:
        return self.new_sweep().dry_run(live, max_age_s=WEEK_S, on_verdict=seen)

    def names(self) -> set[str]:
        """Return the entries of the root, without the volume's own files."""
        return {each.name for each in self.path.iterdir() if not each.name.startswith(".")}

    def trash(self) -> list[str]:
        return sorted(each.name for each in (self.path / ".trash").iterdir())


def moment(beside: Path) -> int:
    """Return a time of the file system's clock, later than all files so far and earlier than all later ones."""
    probe = beside / f"probe-{uuid4().hex}"
    probe.touch()
    first = probe.stat().st_ctime_ns
    wait_until(lambda: _touched(probe) > first)
    border = _touched(probe)
    wait_until(lambda: _touched(probe) > border)
    probe.unlink()
    return border


def _touched(path: Path) -> int:
    os.utime(path)
    return path.stat().st_ctime_ns


def wait_until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Poll until the condition is true."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.0005)


async def until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Poll until the condition is true, without blocking the event loop."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.001)


def everything_below(path: Path) -> dict[str, bytes | str | None]:
    """Return a snapshot of a tree: paths and contents."""
    picture: dict[str, bytes | str | None] = {}
    for folder, directories, files in os.walk(path):
        for name in directories + files:
            full = Path(folder, name)
            key = str(full.relative_to(path))
            if full.is_symlink():
                picture[key] = str(full.readlink())
            else:
                picture[key] = full.read_bytes() if full.is_file() else None
    return picture
