"""Memory stays bounded: a year of jobs, and a burst of them with the record endpoint down.

`TRAININGJOB_SOAK_PYTHON` names the interpreter to use, with the operator's dependencies installed:
memory that is bounded on one Python version need not be on another. `TRAININGJOB_SOAK_BURST=100000` makes the burst larger (some ten milliseconds of CPU a job); the
default fits into two minutes of CPU. With `pytest -s` the figures are printed. The API server is in
the same process, so that RSS grows with the jobs that wait there while the endpoint is down.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.repository import ROOT

pytestmark = pytest.mark.long

BURST = int(os.environ.get("TRAININGJOB_SOAK_BURST", "2400"))
PYTHON = os.environ.get("TRAININGJOB_SOAK_PYTHON", sys.executable)
OUTAGE_FROM_H = 3.0
RETRY_CACHE = min(BURST // 12, 1000)
OUTAGE_H = 1.25 * RETRY_CACHE * 24 / BURST
"""So long that more records wait than the retry cache has room for."""

LIMITS = {
    "index": 20_000,
    "waiting_line": 20_000,
    "queue": 80_000,
    "retry_cache": RETRY_CACHE,
    "deliveries": RETRY_CACHE,
    "manifest_bytes": 16 * 1024 * 1024,
    "event_memory": 2000,
}
FLAT = ("tasks", "threads", "files", "zombies")

Look = dict[str, float]


def live(*arguments: str) -> dict[str, Any]:
    """Live one life in a process of its own; its report."""
    command = [PYTHON, "-m", "tests.support.cluster.soak", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def halves(looks: Sequence[Look], *, warm: float) -> tuple[Sequence[Look], Sequence[Look]]:
    """The looks in two halves, without the first part, in which everything is filled once."""
    rest = looks[round(len(looks) * warm) :]
    return rest[: len(rest) // 2], rest[len(rest) // 2 :]


def most(looks: Sequence[Look], name: str) -> float:
    return max(look[name] for look in looks)


def say(what: str, report: dict[str, Any]) -> None:
    looks: list[Look] = report["looks"]
    rss = [look["rss_kib"] / 1024 for look in looks]
    print(  # noqa: T201 - with `pytest -s`
        f"\n{what}: {report['jobs']} jobs in {report['days']:g} days, {report['stored']} records "
        f"stored, {report['evicted']} keys evicted, {report['left_in_cluster']} jobs left; at most {most(looks, 'index'):.0f} in the "
        f"index, {most(looks, 'retry_cache'):.0f} in the retry cache, "
        f"{most(looks, 'queue'):.0f} in the work queue, {most(looks, 'tasks'):.0f} tasks, "
        f"{most(looks, 'files'):.0f} files; RSS {rss[0]:.1f} MiB at first, {max(rss):.1f} at "
        f"most, {rss[-1]:.1f} at the end; {report['cpu_s']:g} s of CPU"
    )


@pytest.fixture(scope="module")
def year() -> dict[str, Any]:
    """Ten jobs a day, looked at every week."""
    report = live(
        *("--jobs", "3650", "--days", "365", "--look-every-h", "168", "--interval-s", "1800")
    )
    say("a year", report)
    return report


@pytest.fixture(scope="module")
def burst() -> dict[str, Any]:
    """All in one day, in the middle of which the record endpoint is down."""
    outage = (str(OUTAGE_FROM_H), str(OUTAGE_FROM_H + OUTAGE_H))
    arguments = ("--jobs", str(BURST), "--days", "1", "--look-every-h", "0.25")
    report = live(*arguments, "--outage", *outage, "--retry-cache", str(RETRY_CACHE))
    say("a burst", report)
    return report


def test_a_year_of_jobs_leaks_no_memory(year: dict[str, Any]) -> None:
    first, second = halves(year["looks"], warm=0.4)  # the events' memory takes 70 days to fill
    assert year["stored"] == year["jobs"]
    assert year["left_in_cluster"] == 0
    for name in FLAT:
        assert most(second, name) <= most(first, name), name
    assert most(year["looks"], "index") <= 2, "ten a day, each for an hour"
    # One object kept of every second job, for ever, would be too much.
    jobs_between = year["jobs"] * 0.3
    assert most(second, "blocks") - most(first, "blocks") < 0.5 * jobs_between
    assert most(second, "rss_kib") - most(first, "rss_kib") < 2048


def test_a_burst_of_jobs_leaks_no_memory(burst: dict[str, Any]) -> None:
    looks = burst["looks"]
    assert burst["stored"] == burst["jobs"], "no record was lost"
    assert burst["left_in_cluster"] == 0
    last = looks[-1]
    assert (last["index"], last["retry_cache"], last["deliveries"], last["queue"]) == (0, 0, 0, 0)
    for name in FLAT:
        assert last[name] <= looks[0][name], name


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_no_structure_outgrows_its_limit(
    year: dict[str, Any], burst: dict[str, Any], name: str
) -> None:
    assert most(year["looks"], name) <= LIMITS[name]
    assert most(burst["looks"], name) <= LIMITS[name]


def test_the_full_retry_cache_evicted_entries_without_losing_records(
    burst: dict[str, Any],
) -> None:
    assert most(burst["looks"], "retry_cache") == LIMITS["retry_cache"]
    assert burst["evicted"] > 0
    assert burst["stored"] == burst["jobs"]


def test_an_hour_of_a_burst_costs_as_much_memory_as_any_other(burst: dict[str, Any]) -> None:
    settled = OUTAGE_FROM_H + OUTAGE_H + 2
    after = [look for look in burst["looks"] if settled <= look["hour"] <= 24]
    first, second = after[: len(after) // 2], after[len(after) // 2 :]
    jobs_between = burst["jobs"] * (24 - settled) / 2 / 24
    assert most(second, "blocks") - most(first, "blocks") < 0.5 * jobs_between
    assert most(second, "rss_kib") - most(first, "rss_kib") < 4096
