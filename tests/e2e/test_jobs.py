"""Effects of the kubelet, the container runtime and the kernel on trainers, and the resulting job status.

All jobs start together; each test then waits for its own.
"""

import json

import pytest

from tests.support.real.installed_chart import IMAGE, LOGS, SYSTEM, TEAM, InstalledChart, shell_job

pytestmark = pytest.mark.e2e

SAVES = (
    'trap "sleep 2; echo saved > /training/checkpoint; echo saved; exit 0" TERM; '
    "echo training; while :; do sleep 0.2; done"
)
AGAIN = (
    'echo attempt $TRAININGJOB_ATTEMPT; trap "exit 0" TERM; '
    'if [ "$TRAININGJOB_ATTEMPT" = 0 ]; then while :; do sleep 0.2; done; fi; echo done'
)
SMALL = "small"
OUT_OF_MEMORY = tuple(f"oom-{number}" for number in range(3))
SHARED = {"name": "shared", "mountPath": "/shared"}


def with_init_and_sidecar() -> dict[str, object]:
    shipper = 'trap "exit 0" TERM; while :; do sleep 0.2; done'
    prepare = {"name": "prepare", "image": IMAGE, "volumeMounts": [SHARED]}
    ship = {"name": "ship", "image": IMAGE, "restartPolicy": "Always"}
    train = {"name": "trainer", "image": IMAGE, "volumeMounts": [SHARED]}
    pod = {
        "initContainers": [
            prepare | {"command": ["sh", "-c", "echo prepared > /shared/data"]},
            ship | {"command": ["sh", "-c", shipper]},
        ],
        "containers": [train | {"command": ["cat", "/shared/data"]}],
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }
    return shell_job("sidecar", "", pod=pod)


def main_container(name: str, **more: object) -> dict[str, object]:
    return {"containers": [{"name": "trainer", "image": IMAGE, "command": ["true"], **more}]} | {
        "terminationGracePeriodSeconds": len(name)
    }


@pytest.fixture(scope="module")
def jobs(installed: InstalledChart) -> InstalledChart:
    allocate = "sleep 1; exec python -c 'x = bytearray(200_000_000); print(len(x))'"
    small = {"memory": "32Mi"}
    volume = {"volume": True, "claimName": LOGS}
    missing = {"configMapRef": {"name": "missing"}}
    grace = {"terminationGracePeriodSeconds": 20}
    installed.submit(
        *(shell_job(each, allocate, limits=small, backoffLimit=0) for each in OUT_OF_MEMORY),
        shell_job("exit3", "echo no data; exit 3", backoffLimit=1),
        shell_job("stop", SAVES, nodes=1, pod=grace, logs=volume),
        shell_job("resume", AGAIN),
        with_init_and_sidecar(),
        shell_job("unpullable", "", pod=main_container("p", image="registry.invalid/none:1")),
        shell_job("no-config", "", pod=main_container("c", envFrom=[missing])),
        shell_job("no-claim", "true", logs={"volume": True, "claimName": "missing"}),
        shell_job("deadline", "sleep 600", activeDeadlineSeconds=5),
        shell_job("init-fails", "true", backoffLimit=0, pod={
            **main_container("i"),
            "initContainers": [{"name": "get", "image": IMAGE, "command": ["sh", "-c", "exit 5"]}],
        }),
    )  # fmt: skip
    return installed


def says(installed: InstalledChart, name: str, namespace: str, words: str) -> bool:
    """Return True if a job's status has these words."""
    found = installed.get("trainingjob", name, "-n", namespace)
    return words in json.dumps(found.get("status", {}))


def refuses_pods(installed: InstalledChart, namespace: str) -> bool:
    """Return True if a pod would be refused there for a quota."""
    try:
        asked = ("run", "asked", f"--image={IMAGE}", "--dry-run=server")
        installed.kubectl("-n", namespace, *asked)
    except AssertionError as error:
        return "exceeded quota" in str(error)
    return False


def test_a_full_quota_is_named(jobs: InstalledChart) -> None:
    jobs.kubectl("create", "namespace", SMALL)
    jobs.kubectl("create", "quota", "pods", "-n", SMALL, "--hard=pods=0")
    jobs.wait(lambda: refuses_pods(jobs, SMALL), "the quota to be counted: it holds from then on")
    job = shell_job("waits", "true")
    job["metadata"]["namespace"] = SMALL
    jobs.submit(job)
    jobs.wait(lambda: says(jobs, "waits", SMALL, "QuotaExceeded"), "the quota to be named")
    jobs.kubectl("delete", "quota", "pods", "-n", SMALL)


def test_an_oom_killed_trainer_is_reported_as_such(jobs: InstalledChart) -> None:
    ends = [jobs.finished(each) for each in OUT_OF_MEMORY]
    for kind, reason, message in ends:
        assert (kind, reason) == ("Failed", "BackoffLimitExceeded")
        assert "137" in message
    # A runtime may notice a container's exit before the OOM kill, and then reports `Error`.
    assert any("OOMKilled" in message for _, _, message in ends), ends


def test_the_exit_code_is_the_trainers(jobs: InstalledChart) -> None:
    kind, reason, message = jobs.finished("exit3")
    assert (kind, reason) == ("Failed", "BackoffLimitExceeded")
    assert "3" in message
    assert jobs.archived("exit3").count("no data") == 2


def test_a_stop_lets_the_trainer_save_within_its_grace_period(jobs: InstalledChart) -> None:
    jobs.running("stop")
    jobs.kubectl(
        "patch", "tj/stop", "-n", TEAM, "--type=merge", "-p", '{"spec":{"shutdown":"Stop"}}'
    )
    assert jobs.finished("stop")[:2] == ("Cancelled", "Stopped")
    # What it writes on SIGTERM is not in its log (docs/volume.md), but in its directory.
    assert "training\n" in jobs.archived("stop")
    assert (jobs.directory("stop") / "checkpoint").read_text() == "saved\n"


def test_a_suspended_job_frees_its_node_and_can_be_resumed(jobs: InstalledChart) -> None:
    jobs.running("resume")
    suspend = '{"spec":{"suspend":%s}}'
    jobs.kubectl("patch", "tj/resume", "-n", TEAM, "--type=merge", "-p", suspend % "true")
    jobs.wait(lambda: not jobs.pods("resume"), "its pods to go")
    jobs.kubectl("patch", "tj/resume", "-n", TEAM, "--type=merge", "-p", suspend % "false")
    assert jobs.finished("resume")[:2] == ("Complete", "CompletionsReached")


def test_an_init_container_runs_first_and_a_sidecar_does_not_delay_completion(
    jobs: InstalledChart,
) -> None:
    assert jobs.finished("sidecar")[0] == "Complete"
    assert "prepared" in jobs.archived("sidecar")


def test_an_init_container_that_fails_fails_the_job_with_its_code(jobs: InstalledChart) -> None:
    kind, _, message = jobs.finished("init-fails")
    assert (kind, "5" in message) == ("Failed", True)


def test_an_expired_deadline_stops_running_pods(jobs: InstalledChart) -> None:
    assert jobs.finished("deadline")[:2] == ("Failed", "DeadlineExceeded")


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("unpullable", "ImagePull", "registry.invalid/none:1"),
        ("no-config", "PodsNotReady", "missing"),
        ("no-claim", "Unschedulable", "missing"),
    ],
)
def test_a_missing_dependency_of_a_pod_is_named_and_waited_for(
    jobs: InstalledChart, name: str, reason: str, words: str
) -> None:
    def says_it() -> bool:
        found = jobs.job(name).get("status", {}).get("conditions", [])
        ready = [each for each in found if each["type"] == "PodsReady"]
        return any(each["reason"] == reason and words in each["message"] for each in ready)

    jobs.wait(says_it, f"{name} to say {reason} and {words}")
    jobs.kubectl("delete", "tj", name, "-n", TEAM)


def test_trainers_without_run_as_non_root_are_rejected_by_a_restricted_namespace(
    jobs: InstalledChart,
) -> None:
    job = shell_job("as-root", "true")
    job["metadata"]["namespace"] = SYSTEM
    jobs.submit(job)
    jobs.wait(lambda: says(jobs, "as-root", SYSTEM, "violates PodSecurity"), "Pod Security")
    jobs.kubectl("delete", "tj", "as-root", "-n", SYSTEM)


def test_the_job_blocked_by_the_quota_runs_once_quota_is_free(jobs: InstalledChart) -> None:
    jobs.wait(lambda: says(jobs, "waits", SMALL, "CompletionsReached"), "it to run")
    jobs.kubectl("delete", "namespace", SMALL)
