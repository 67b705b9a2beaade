"""The number of points in an answer is bounded, whatever the period and the step."""

import pytest

from trainingjob_console.api.housekeeping import MAX_POINTS, widened
from trainingjob_console.samples.sample_ring import INTERVAL_S, MAX_SAMPLES, SampleRing
from trainingjob_console.samples.series import SERIES

NOW = 1_790_000_000.0


@pytest.mark.parametrize("hours", [1, 6, 24, 24 * 365])
@pytest.mark.parametrize("step", [INTERVAL_S, 240])
def test_one_answer_has_no_more_points_than_a_page_draws(hours: int, step: int) -> None:
    ring = SampleRing()
    for n in range(MAX_SAMPLES, 0, -1):
        ring.add(NOW - n * INTERVAL_S, dict.fromkeys(SERIES, 1.0))
    since = NOW - hours * 3600
    points = ring.points(since, widened(step, since, NOW))
    for each in points.values():
        # A step that is wide enough is not changed.
        assert min(hours, 24) * 3600 // max(step, 220) - 1 <= len(each) <= MAX_POINTS + 1
    assert widened(step, NOW - 3600, NOW) == step
