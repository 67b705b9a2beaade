"""The console as a pod of the release, accessed with `kubectl port-forward`."""

from pathlib import Path

import pytest

from tests.support.real.installed_chart import CONSOLE, SYSTEM, TEAM, InstalledChart, shell_job
from tests.support.real.port_forward import port_forward

pytestmark = pytest.mark.e2e

ELSEWHERE = "elsewhere"
USER = "job-viewer"
ADMIN = "looks-at-all-jobs"


def test_a_user_of_one_namespace_sees_its_jobs_logs_and_history_and_no_others(
    installed: InstalledChart, tmp_path: Path
) -> None:
    installed.kubectl("create", "namespace", ELSEWHERE)
    hidden = shell_job("hidden", "true", suspend=True)
    hidden["metadata"]["namespace"] = ELSEWHERE
    # A job that is deleted as soon as it has finished is only in the history.
    installed.submit(
        hidden,
        shell_job("shown", "echo seen by the console"),
        shell_job("past", "echo gone", ttlSecondsAfterFinished=0),
    )
    token = installed.viewer(USER)
    assert installed.finished("shown")[0] == "Complete"
    assert "seen by the console" in installed.archived("shown")

    kubeconfig = installed.node.plane.kubeconfig
    with port_forward(kubeconfig, SYSTEM, CONSOLE, 8070, tmp_path / "forward.log") as page:
        assert page.ask("/api/jobs")[0] == 401
        user = page.log_in(token)

        def rows() -> dict[str, dict[str, str]]:
            status, found, _ = page.ask("/api/jobs", headers=user)
            assert status == 200
            assert {row["namespace"] for row in found["items"]} <= {TEAM}
            return {row["name"]: row for row in found["items"]}

        def is_past() -> bool:
            return rows().get("past", {}).get("source") == "history"

        installed.wait(is_past, "the job that is gone to be in the history")
        job = rows()["shown"]
        found = page.ask(f"/api/jobs/{job['uid']}/logs", headers=user)[1]
        [archived] = [each["id"] for each in found["sources"] if each["state"] == "archived"]
        log = page.ask(f"/api/jobs/{job['uid']}/logs/{archived}", headers=user)[1]
        assert "seen by the console" in log["text"]

        # Figures of all jobs require the right to list all. Both operators are found by one DNS name,
        # without a right to read pods.
        assert page.ask("/api/housekeeping", headers=user)[0] == 403
        admin = page.log_in(installed.viewer(ADMIN, everywhere=True))

        def both_are_up() -> bool:
            status, found, _ = page.ask("/api/housekeeping", headers=admin)
            assert status == 200, found
            return sorted((each["up"], each["leader"]) for each in found["operators"]) == [
                (True, False),
                (True, True),
            ]

        installed.wait(both_are_up, "both operators to answer the console")

    [pod] = installed.get("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=console")[
        "items"
    ]
    assert [each["restartCount"] for each in pod["status"]["containerStatuses"]] == [0]
    said = installed.kubectl("logs", "-n", SYSTEM, f"deployment/{CONSOLE}")
    assert "Traceback" not in said
    assert token not in said
