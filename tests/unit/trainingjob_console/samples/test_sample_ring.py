from trainingjob_console.samples.sample_ring import SampleRing
from trainingjob_console.samples.series import LIMITS, SERIES


def test_a_day_is_kept_and_thinned() -> None:
    ring = SampleRing(limit=4)
    for n in range(6):
        ring.add(n * 15.0, {"pods": n, "memoryBytes": None})
    assert len(ring) == 4
    assert ring.points(0, 15)["pods"] == [[30.0, 2.0], [45.0, 3.0], [60.0, 4.0], [75.0, 5.0]]
    assert ring.points(31, 30)["pods"] == [[45.0, 3.0], [75.0, 5.0]]
    assert ring.points(60, 15)["memoryBytes"] == [[60.0, None], [75.0, None]]
    assert set(LIMITS) <= set(SERIES)
