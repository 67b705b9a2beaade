"""Entries that take longer than one sweep are removed in the end, and do not block others."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.volume.volume import (
    EVERYTHING,
    NOBODY,
    WEEK_S,
    AdjustableClock,
    Volume,
    everything_below,
    new_uid,
)
from trainingjob_operator.volume.sweep.rules import LiveJobs
from trainingjob_operator.volume.sweep.sweep import MAX_TIME_FACTOR, LogSweep

SWEEP_S = 5.0


@dataclass
class Slow(AdjustableClock):
    """A volume on which it takes a tenth of a second until the time is asked for again."""

    def monotonic(self) -> float:
        self.monotonic_s += 0.1
        return self.monotonic_s


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    limits = replace(EVERYTHING, seconds=SWEEP_S, processes=0)
    return Volume(tmp_path / "volume", limits=limits, clock=Slow())


def large(volume: Volume, uid: str, *, directories: int = 200) -> Path:
    """A tree that takes four times as long to look through as a sweep has."""
    top = volume.path / f"job_{uid}"
    for number in range(directories):
        (top / f"d-{number}").mkdir(parents=True)
        (top / f"d-{number}" / "file").touch()
    return top


def sweep_until_gone(
    volume: Volume, sweep: LogSweep, *, most: int, live: LiveJobs = NOBODY
) -> int:
    """How many sweeps it takes until nothing is left to remove."""
    for number in range(1, most + 1):
        report = sweep.sweep(live, max_age_s=WEEK_S)
        assert report.healthy
        if not volume.trash() and not report.skipped.get("capped") and not sweep._stopped_at:
            return number
    raise AssertionError(f"it goes on after {most} sweeps: {volume.names()}, {volume.trash()}")


def test_a_tree_that_takes_longer_than_a_sweep_goes_in_the_end_and_others_go_too(
    volume: Volume,
) -> None:
    live = new_uid()
    kept = large(volume, live)
    before = everything_below(kept)
    large(volume, new_uid())
    for _ in range(30):
        volume.log(new_uid())
    volume.age()
    sweep = volume.new_sweep()
    known = LiveJobs(frozenset({live}))

    assert sweep_until_gone(volume, sweep, most=20, live=known) > 1

    assert volume.names() == {kept.name}
    assert everything_below(kept) == before
    sweep.sweep(known, max_age_s=WEEK_S)
    assert sweep._time_factor == 1


def test_one_that_is_written_to_while_the_sweep_is_at_it_goes_back(volume: Volume) -> None:
    """It lies in the trash between two sweeps then, where only who has it open can write to it."""
    top = large(volume, new_uid())
    volume.age()
    sweep = volume.new_sweep()
    for _ in range(10):
        sweep.sweep(NOBODY, max_age_s=WEEK_S)
        if volume.trash():
            break
    (moved,) = volume.trash()
    assert moved.startswith("r.")
    (volume.path / ".trash" / moved / "d-199" / "file").write_text("young")

    for _ in range(8):
        sweep.sweep(NOBODY, max_age_s=WEEK_S)

    assert volume.names() == {top.name}
    assert (top / "d-199" / "file").read_text() == "young"
    assert sum(1 for _ in top.iterdir()) == 200


def test_a_quota_is_kept_though_the_choice_takes_longer_than_a_sweep(volume: Volume) -> None:
    logs = 100
    volume.limits = replace(volume.limits, quota=80 * 8192)
    volume.age()
    for _ in range(logs):
        volume.log(new_uid()).write_bytes(b"x" * 8192)

    sweep = volume.new_sweep(max_age_s=2 * 3600)  # old enough for a quota, young else
    first = sweep.sweep(NOBODY, max_age_s=WEEK_S)
    assert first.files_removed == 0

    for _ in range(6):
        sweep.sweep(NOBODY, max_age_s=WEEK_S)

    assert sum(1 for _ in volume.path.glob("job_*.log")) == 72


def test_patience_has_an_end(volume: Volume) -> None:
    volume.limits = replace(volume.limits, seconds=-1)
    large(volume, new_uid())
    volume.age()
    sweep = volume.new_sweep()
    patience = []
    for _ in range(12):
        sweep.sweep(NOBODY, max_age_s=WEEK_S)
        patience.append(sweep._time_factor)
    assert patience[:4] == [1, 2, 4, 8]
    assert patience[-2:] == [MAX_TIME_FACTOR] * 2
