"""Tests of the report and the limits of the fail-over benchmark."""

import pytest

from hack.bench.failover import Trial, is_in_time, table


def test_the_table_has_median_and_worst_of_each_signal() -> None:
    trials = [Trial("SIGKILL", taken, taken + 0.5) for taken in (15.0, 14.0, 16.25)]
    assert table(trials).splitlines()[2:] == [
        "| SIGKILL | 3 | 15.0 s | 16.2 s | < 17 s | 15.5 s | 16.8 s |"
    ]


@pytest.mark.parametrize(
    ("signal", "taken_s", "in_time"),
    [
        ("SIGKILL", 16.9, True),
        ("SIGKILL", 17.0, False),
        ("SIGTERM", 2.9, True),
        ("SIGTERM", 3.0, False),
    ],
)
def test_a_slow_one_is_told_from_a_quick_one(
    signal: str, taken_s: float, *, in_time: bool
) -> None:
    assert is_in_time(Trial(signal, taken_s, taken_s)) is in_time
