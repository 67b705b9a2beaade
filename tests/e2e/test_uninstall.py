"""A hundred jobs, then an uninstall: stored data remains, and the next installation uses it."""

import http.client
import urllib.request
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.real.installed_chart import (
    RELEASE,
    SYSTEM,
    TEAM,
    InstalledChart,
    Object,
    held_job,
    shell_job,
)

pytestmark = pytest.mark.e2e

JOBS = 100
AT_ONCE = 10


def resident_mib(installed: InstalledChart) -> float:
    """Return what the leader says of its own memory, once there is one that answers."""
    text = ""

    def answers() -> bool:
        nonlocal text
        leader = installed.leader()
        for pod in installed.operators():
            if pod["metadata"]["name"] == leader:
                url = f"http://{pod['status']['podIP']}:8080/metrics"
                with (
                    suppress(OSError, http.client.HTTPException),
                    urllib.request.urlopen(url, timeout=10) as answer,
                ):
                    text = answer.read().decode()
        return text != ""

    installed.wait(answers, "a leader that answers")
    lines = text.splitlines()
    [found] = [line for line in lines if line.startswith("process_resident_memory_bytes ")]
    return float(found.split()[1]) / 2**20


def is_over(job: Object) -> bool:
    """Return True if a job has ended; one that nobody has looked at yet has no status."""
    return "completionTime" in job.get("status", {})


def test_a_hundred_jobs_leak_no_memory(
    installed: InstalledChart, say: Callable[[str], None]
) -> None:
    installed.install({"gc": {"ttl": "5s", "interval": "10s"}}, command="upgrade")
    before, peak, submitted = resident_mib(installed), 0.0, 0

    def go_on() -> bool:
        nonlocal submitted, peak
        found = installed.get("trainingjobs", "-n", TEAM, "-l", "many=yes")["items"]
        at_work = [job for job in found if not is_over(job)]
        more = min(JOBS - submitted, AT_ONCE - len(at_work))
        jobs = [shell_job(f"many-{submitted + n}", "sleep 1") for n in range(max(more, 0))]
        for job in jobs:
            job["metadata"]["labels"] = {"many": "yes"}
        if jobs:
            installed.submit(*jobs)
            submitted += len(jobs)
        peak = max(peak, resident_mib(installed))
        return submitted == JOBS and not (found or jobs)

    installed.wait(go_on, "all jobs to come and go", 720)
    after = resident_mib(installed)
    say(f"{JOBS} jobs: {before:.1f} MiB before, {peak:.1f} at most, {after:.1f} after")
    assert peak < 1.5 * before


def test_an_uninstall_releases_all_finalizers_and_a_new_installation_continues(
    installed: InstalledChart,
) -> None:
    installed.submit(held_job("survives"))
    installed.running("survives")
    installed.helm("uninstall", "--wait", "--timeout", "6m")
    job = installed.job("survives")
    assert not job["metadata"].get("finalizers")
    assert [pod["status"]["phase"] for pod in installed.pods("survives")] == ["Running"]
    # The Job that released the finalizers remains, with its log.
    installed.wait(lambda: not _running(installed), "its pods to go")
    installed.install()
    installed.let_end("survives")
    assert installed.finished("survives")[0] == "Complete"
    assert installed.get("deployment", RELEASE, "-n", SYSTEM)["status"]["readyReplicas"] == 2


def _running(installed: InstalledChart) -> list[str]:
    found = installed.get("pods", "-n", SYSTEM, "--field-selector=status.phase=Running")["items"]
    return [pod["metadata"]["name"] for pod in found]
