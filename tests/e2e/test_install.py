"""An installation with two operators, and a sample with two ranks that resolve each other by DNS."""

import pytest

from tests.support.real.installed_chart import LOGS, SYSTEM, TEAM, InstalledChart
from tests.support.repository import ROOT

pytestmark = pytest.mark.e2e


def test_two_operators_run_and_one_is_the_leader(installed: InstalledChart) -> None:
    pods = installed.operators()
    assert len(pods) == 2
    installed.wait(lambda: installed.leader() != "", "a leader")
    restarts = [c["restartCount"] for pod in pods for c in pod["status"]["containerStatuses"]]
    assert restarts == [0, 0]


def test_the_sample_trains_over_the_headless_service(installed: InstalledChart) -> None:
    sample = ROOT / "manifests" / "samples" / "digits.yaml"
    installed.kubectl("apply", "-n", TEAM, "-f", str(sample))
    assert installed.finished("digits", patience_s=600)[:2] == ("Complete", "CompletionsReached")
    assert "done: all 2 ranks have equal weights" in installed.archived("digits")
    installed.wait(
        lambda: installed.job("digits")["status"].get("recordState") == "Stored", "the record"
    )


def test_the_teams_claim_is_bound_to_the_same_volume(installed: InstalledChart) -> None:
    def phases() -> list[str]:
        claims = [installed.get("pvc", LOGS, "-n", each)["status"] for each in (SYSTEM, TEAM)]
        return [claim["phase"] for claim in claims]

    installed.wait(lambda: phases() == ["Bound", "Bound"], "both claims to be bound")


def test_helm_test_tries_the_release_with_a_job(installed: InstalledChart) -> None:
    assert "Phase:          Succeeded" in installed.helm("test", "--timeout", "4m")
