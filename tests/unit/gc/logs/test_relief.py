"""A volume that is too full, and what removing helps: a file system that shows it, late, or never."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.support.volume import EVERYTHING, NOBODY, WEEK_S, Volume, new_uid
from trainingjob_operator.core.pruning import Usage, VolumeReport
from trainingjob_operator.gc.logs.relief import PAUSE_S
from trainingjob_operator.gc.logs.sweep import LogSweep
from trainingjob_operator.volume.root import Root

JOBS: Final = 60
LOG: Final = 16_384
SIZE: Final = 10_000_000
"""Of the file system, of which one percent are a few logs."""

LIMITS: Final = replace(EVERYTHING, high_percent=85, low_percent=75, settle_s=0)
Report = Callable[[], VolumeReport]


class House:
    """A volume of logs that are not due yet, on a file system that says how full it is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.volume = Volume(folder / "volume", limits=LIMITS)
        self.volume.age()
        for _ in range(JOBS):
            self.volume.log(new_uid())
        for log in self.logs():
            log.write_bytes(b"x" * LOG)
        self.used: Callable[[], int] = lambda: int(0.9 * SIZE)
        self.looks = 0
        self.passed_s = 0.0
        monkeypatch.setattr(Root, "usage", lambda root: self._usage())
        self.sweeps: LogSweep = self.volume.new_sweep()

    def _usage(self) -> Usage:
        self.looks += 1
        used = self.used()
        return Usage(used=used, available=SIZE - used)

    def logs(self) -> list[Path]:
        return list(self.volume.path.glob("job_*.log"))

    def sweep(self) -> VolumeReport:
        return self.sweeps.sweep(NOBODY, max_age_s=WEEK_S + self.passed_s)

    def pass_time(self, seconds: float) -> None:
        """For all clocks; what is there stays as young as it is."""
        self.passed_s += seconds
        self.volume.clock.monotonic_s += seconds
        self.volume.clock.wall_ns += int(seconds) * 10**9


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def test_a_file_system_that_does_not_get_emptier_gives_up_next_to_nothing(house: House) -> None:
    first = house.sweep()
    assert (first.healthy, first.reason) == (False, "NothingFreed")
    assert "snapshots or a quota" in first.message
    assert 0 < first.files_removed <= 2, "a hundredth of a seventh of it, as far as whole logs go"

    for _ in range(5):
        house.pass_time(600)
        again = house.sweep()
        assert (again.files_removed, again.reason) == (0, "NothingFreed"), (
            "nor does the next sweep"
        )
    assert len(house.logs()) == JOBS - first.files_removed


def test_it_is_tried_again_a_day_later_and_when_the_volume_was_emptier_meanwhile(
    house: House,
) -> None:
    gone = house.sweep().files_removed
    house.used = lambda: int(0.8 * SIZE)
    assert (house.sweep().healthy, len(house.logs())) == (True, JOBS - gone)
    house.used = lambda: int(0.9 * SIZE)
    again = house.sweep()
    assert (again.files_removed, again.reason) == (gone, "NothingFreed")
    assert house.sweep().files_removed == 0

    house.pass_time(PAUSE_S)
    later = house.sweep()
    assert (later.files_removed, later.reason) == (gone, "NothingFreed")


def test_a_file_system_that_gets_emptier_is_relieved_as_far_as_it_has_to_be(house: House) -> None:
    before, begun = 0.9 * SIZE, len(house.logs())
    house.used = lambda: int(before) - LOG * (begun - len(house.logs()))
    report = house.sweep()
    assert (report.healthy, report.reason) == (True, "Healthy")
    assert report.files_removed == JOBS, "all of it is not enough, and it was not in vain"


def test_others_may_write_meanwhile(house: House) -> None:
    """Of what is removed a quarter is felt."""
    before, begun = 0.9 * SIZE, len(house.logs())
    house.used = lambda: int(before) - LOG * (begun - len(house.logs())) // 4
    assert (house.sweep().healthy, house.logs()) == (True, [])


def test_a_file_system_that_frees_in_the_background_is_waited_for(house: House) -> None:
    house.volume.limits = replace(LIMITS, settle_s=0.6)
    house.sweeps = house.volume.new_sweep()
    begun, seen = len(house.logs()), [0, 0]

    def late() -> int:
        gone = begun - len(house.logs())
        if gone != seen[0]:
            seen[:] = [gone, house.looks]
        shown = gone if house.looks > seen[1] + 5 else 0
        return int(0.9 * SIZE) - LOG * shown

    house.used = late
    report = house.sweep()
    assert (report.healthy, report.files_removed) == (True, JOBS)


def test_a_sweep_that_has_no_time_to_find_out_does_not_try_again_and_again(house: House) -> None:
    sweep, looks = house.sweeps, 0

    def used() -> int:
        nonlocal looks
        looks += 1
        if len(house.logs()) < JOBS:
            sweep.stop()
        return int(0.9 * SIZE)

    house.used = used
    house.volume.limits = replace(LIMITS, settle_s=3600)
    sweep.limits = house.volume.limits  # type: ignore[misc]
    first = house.sweep()
    assert (first.reason, first.files_removed > 0) == ("NothingFreed", True)
    assert house.sweep().files_removed == 0


def test_what_has_another_name_is_not_given_up_because_that_frees_nothing(house: House) -> None:
    elsewhere = house.volume.path.parent / "backup"
    elsewhere.mkdir()
    for log in house.logs():
        (elsewhere / log.name).hardlink_to(log)
    report = house.sweep()
    assert (report.files_removed, report.healthy) == (0, True)


def test_what_is_due_goes_all_the_same(house: House) -> None:
    house.sweep()
    house.volume.age()
    house.volume.clock.wall_ns = house.volume.border_ns + int(WEEK_S * 1e9)
    report = house.sweep()
    assert (house.logs(), report.reason) == ([], "NothingFreed")
