"""What an administrator does to a release in use: another token, other times, by values alone."""

import base64
import json
import urllib.error
import urllib.request

import pytest

from tests.support.real.installed import LOGS, RELEASE, SYSTEM, TEAM, Installed, shell_job

pytestmark = pytest.mark.e2e

RECORDS = f"{RELEASE}-records"
NEW = "a-token-of-the-administrators-own-choice"


def token(installed: Installed) -> str:
    """What the Secret has."""
    return base64.b64decode(
        installed.get("secret", RECORDS, "-n", SYSTEM)["data"]["token"]
    ).decode()


def set_tokens(installed: Installed, *tokens: str) -> None:
    """Put these into the Secret, and let the record service begin anew, which reads it at its start."""
    patch = json.dumps({"stringData": {"token": "\n".join(tokens)}})
    installed.kubectl("patch", "secret", RECORDS, "-n", SYSTEM, "-p", patch)
    installed.kubectl("rollout", "restart", f"deployment/{RECORDS}", "-n", SYSTEM)
    installed.kubectl("rollout", "status", f"deployment/{RECORDS}", "-n", SYSTEM, "--timeout=90s")


def answer_to(installed: Installed, shown: str) -> int:
    """The status with which the record service answers whoever shows a token."""
    selector = "app.kubernetes.io/component=record-service"
    pods = installed.get("pods", "-n", SYSTEM, "-l", selector)["items"]
    [address] = [
        pod["status"]["podIP"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
    ]
    request = urllib.request.Request(
        f"http://{address}:8090/api/v1/jobs", headers={"Authorization": f"Bearer {shown}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def is_stored(installed: Installed, name: str) -> bool:
    return bool(installed.job(name)["status"].get("recordState") == "Stored")


def test_a_new_token_takes_the_place_of_the_old_one_and_no_record_is_lost(
    installed: Installed,
) -> None:
    old = token(installed).strip()
    set_tokens(installed, NEW, old)
    assert (answer_to(installed, old), answer_to(installed, NEW)) == (200, 200)
    installed.submit(shell_job("both-tokens", "true"))
    installed.wait(lambda: is_stored(installed, "both-tokens"), "its record")

    set_tokens(installed, NEW)  # perhaps before the kubelet has shown it to the operators
    assert (answer_to(installed, old), answer_to(installed, NEW)) == (401, 200)
    installed.submit(shell_job("new-token", "true"))
    installed.wait(lambda: is_stored(installed, "new-token"), "its record", 240)


def test_other_times_of_the_retention_are_values_and_hold_for_jobs_that_are_there(
    installed: Installed,
) -> None:
    installed.submit(shell_job("kept", "echo hello", ttlSecondsAfterFinished=3600))
    installed.submit(shell_job("goes", "echo hello"))
    for name in ("kept", "goes"):
        assert "hello" in installed.archived(name)
        installed.wait(lambda name=name: is_stored(installed, name), "its record")  # type: ignore[misc]
    uids = {name: installed.job(name)["metadata"]["uid"] for name in ("kept", "goes")}
    volume = {"existingClaim": LOGS, "accessMode": "ReadWriteMany", "maxAge": "5s"}
    values = {"gc": {"ttl": "1s", "interval": "5s"}, "logVolume": volume}
    installed.install(values, command="upgrade")
    try:
        installed.wait(lambda: not logs_of(installed, uids["goes"]), "its logs to go")
        assert logs_of(installed, uids["kept"]), "its own time is longer, and its job is there"
        assert installed.job("kept")["status"]["recordState"] == "Stored"
    finally:
        installed.install(command="upgrade")
    installed.kubectl("delete", "tj", "kept", "-n", TEAM)


def logs_of(installed: Installed, uid: str) -> list[str]:
    return [path.name for path in installed.logs.glob(f"job_{uid}*.log")]
