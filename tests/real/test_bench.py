"""The benchmark at a small size: its counts are the same on a machine of any speed."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.repository import ROOT


@pytest.fixture(scope="module")
def smoke(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run the benchmark's smoke size once; return its machine-readable results."""
    written = tmp_path_factory.mktemp("bench") / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "hack.bench", "--smoke", "--json", written],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert written.exists(), done.stderr
    return done, json.loads(written.read_text())


@pytest.mark.real_only
def test_a_one_pod_job_takes_three_requests_and_one_pod(
    smoke: tuple[subprocess.CompletedProcess[str], Any],
) -> None:
    done, written = smoke
    assert done.returncode == 0, done.stderr
    ours, tuned = written["runs"]["B"]["results"]
    assert (ours["contestant"], tuned["contestant"]) == ("ours", "job-tuned")
    assert ours["unfinished"] == ours["duplicates"] == 0
    assert ours["repetitions"][0]["own"]["create pods"] == ours["jobs"]


@pytest.mark.real_only
def test_requests_of_the_job_controller_are_counted_separately(
    smoke: tuple[subprocess.CompletedProcess[str], Any],
) -> None:
    """The baseline of the comparison must count all requests of the Job controller."""
    _, written = smoke
    tuned = written["runs"]["B"]["results"][1]
    own = tuned["repetitions"][0]["own"]
    assert own["create pods"] == tuned["jobs"]
    assert own["update jobs/status"] >= tuned["jobs"]
    assert "patch trainingjobs/status" not in own


@pytest.mark.real_only
def test_a_record_takes_two_more_requests_and_a_late_one_three() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hack.bench.records", "--smoke", "--jobs", "30"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("- met: at most ") == 2, done.stdout
    assert "records/s" not in done.stdout
