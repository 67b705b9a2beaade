"""A sweep that hangs in the middle ends by its budget, and the next one finishes its work."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.volume.volume import WEEK_S, AdjustableClock, Volume, everything_below, new_uid
from trainingjob_operator.volume.sweep.budget import Limits
from trainingjob_operator.volume.sweep.rules import LiveJobs

HOURS = 7200


@dataclass
class StandsStill(AdjustableClock):
    """Two hours pass at this look at the monotonic clock, of all clocks alike."""

    at: int = 0
    looks: int = 0

    def monotonic(self) -> float:
        self.looks += 1
        if self.looks == self.at:
            self.monotonic_s += HOURS
            self.wall_ns += HOURS * 10**9
        return self.monotonic_s


@pytest.mark.parametrize("at", [5, 20, 38])
def test_a_sweep_that_is_stopped_for_hours_ends_and_the_next_one_finishes(
    tmp_path: Path, at: int
) -> None:
    clock = StandsStill(at=at)
    limits = Limits(share_percent=100, at_least=1000, seconds=120)
    volume = Volume(tmp_path / "volume", clock=clock, limits=limits)
    live, young = new_uid(), new_uid()
    for uid in [live, *(new_uid() for _ in range(40))]:
        volume.tree(f"job_{uid}")
    volume.age()
    volume.tree(f"job_{young}")
    before = [everything_below(volume.path / f"job_{uid}") for uid in (live, young)]
    sweep = volume.new_sweep()
    known = LiveJobs(frozenset({live}), listed_at=clock.now() - timedelta(seconds=1))

    first = sweep.sweep(known, max_age_s=WEEK_S)

    assert clock.looks >= at, "it did not stand still in the middle"
    assert first.directories_removed < 80
    assert (first.healthy, first.errors) == (True, 0)
    clock.monotonic_s += 600
    clock.wall_ns += 600 * 10**9
    fresh = LiveJobs(frozenset({live}), listed_at=clock.now() - timedelta(seconds=1))
    second = sweep.sweep(fresh, max_age_s=WEEK_S + HOURS + 600)  # the border is where it was
    assert first.directories_removed + second.directories_removed == 80
    assert volume.names() == {f"job_{live}", f"job_{young}"}
    assert volume.trash() == []
    assert [everything_below(volume.path / f"job_{uid}") for uid in (live, young)] == before
