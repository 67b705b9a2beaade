"""Tests of the limits of `hack.bench.records`."""

import os
from collections import Counter
from pathlib import Path

import pytest

from hack.bench.audit import Requests
from hack.bench.drain import Drain
from hack.bench.endpoints import recording_to
from hack.bench.measure import Measurement
from hack.bench.records import CASES, problems_of, render, render_drain
from hack.bench.summary import Summary

IN_TIME, LATE = CASES


def summary(*, own: int, finished: int = 10, long_runs: int = 0) -> Summary:
    return Summary(
        [
            Measurement(
                contestant="ours",
                workload="stream",
                jobs=10,
                finished=finished,
                failed=0,
                seconds=1.0,
                pods_seconds=1.0,
                latencies_ms=[10.0],
                long_runs=long_runs,
                duplicates=0,
                requests=Requests(own=own, detail=Counter({"create pods": finished})),
                rss_mb=(70.0, 71.0),
                cpu_s={"machine-busy": 1.0},
            )
        ]
    )


def test_a_record_taken_in_time_costs_five_requests_and_a_late_one_six() -> None:
    assert problems_of(IN_TIME, summary(own=50)) == []
    assert problems_of(LATE, summary(own=60)) == []

    [problem] = problems_of(IN_TIME, summary(own=51))
    assert "51 own requests for 10 jobs" in problem
    assert "at most 50 are allowed" in problem
    assert len(problems_of(LATE, summary(own=61))) == 1


def test_a_pod_that_ran_for_long_may_cost_one_write_more() -> None:
    assert problems_of(IN_TIME, summary(own=52, long_runs=2)) == []
    assert problems_of(IN_TIME, summary(own=53, long_runs=2))


def test_jobs_that_do_not_end_are_a_problem() -> None:
    [problem] = problems_of(IN_TIME, summary(own=45, finished=9))

    assert "1 of 10 jobs did not complete" in problem


def test_the_report_has_the_figures_and_the_verdicts() -> None:
    text = render([(IN_TIME, summary(own=50)), (LATE, summary(own=70))])
    drained = Drain(
        records=1000,
        seconds=4.0,
        settled_s=6.0,
        cpu_ms={"api-server": 10.04, "controller": 5.0},
        requests=Counter({"patch trainingjobs": 1000}),
    )
    text += render_drain(drained)

    assert "- met: at most 5 own requests for each job, ours, records taken in time: 5.00" in text
    assert "- NOT met: at most 6 own requests for each job, ours, records taken late: 7.00" in text
    assert "NOT met: at least 300 records/s after an outage" in text
    assert "250 records/s stored (1000 in 4.0 s), 167 jobs/s acknowledged" in text
    assert "the last one 6.0 s after the first record" in text
    assert "CPU ms for each record of the drain: api-server 10.0, controller 5.0; own" in text
    assert "own requests: {'patch trainingjobs': 1000}" in text


def test_the_operators_settings_are_those_of_the_bench_and_are_taken_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRAININGJOB_PERSIST__URL", "http://mine/")
    monkeypatch.delenv("TRAININGJOB_PERSIST__TOKEN_FILE", raising=False)

    with recording_to(8090, tmp_path / "token"):
        assert os.environ["TRAININGJOB_PERSIST__URL"] == "http://127.0.0.1:8090/api/v1/jobs"
        assert Path(os.environ["TRAININGJOB_PERSIST__TOKEN_FILE"]).read_text().strip()

    assert os.environ["TRAININGJOB_PERSIST__URL"] == "http://mine/"
    assert "TRAININGJOB_PERSIST__TOKEN_FILE" not in os.environ
