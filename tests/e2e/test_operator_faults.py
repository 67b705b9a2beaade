"""Failures of the operator, its leader, its node and its record service while jobs run."""

import pytest

from hack.cluster.node.config import NODE
from tests.support.real.installed_chart import RELEASE, SYSTEM, InstalledChart, held_job, shell_job

pytestmark = pytest.mark.e2e

OF_THE_RECORDS = ("-l", "app.kubernetes.io/component=record-service")


def attempts(installed: InstalledChart, name: str) -> int:
    return installed.archived(name).count("] attempt ")


def test_a_killed_leader_is_replaced_and_no_rank_restarts(installed: InstalledChart) -> None:
    installed.submit(held_job("led", nodes=2))
    installed.running("led")
    installed.wait(lambda: installed.leader() != "", "a leader")
    leader, holder = installed.leader(), installed.holder()
    [pod] = [each for each in installed.operators() if each["metadata"]["name"] == leader]
    container = pod["status"]["containerStatuses"][0]["containerID"].partition("//")[2]
    installed.node.containerd.kill(container)
    installed.wait(lambda: installed.holder() not in {"", holder}, "another leader")
    installed.let_end("led")
    assert installed.finished("led")[0] == "Complete"
    assert attempts(installed, "led") == 2, "each of both ranks once"
    installed.wait(lambda: len(installed.operators()) == 2, "two operators")


def test_jobs_keep_running_without_an_operator(installed: InstalledChart) -> None:
    installed.submit(held_job("alone"))
    installed.running("alone")
    scale = ("-n", SYSTEM, "scale", f"deployment/{RELEASE}")
    installed.kubectl(*scale, "--replicas=0")
    installed.wait(lambda: not installed.operators(), "the operators to end")
    installed.let_end("alone")
    installed.wait(
        lambda: installed.pods("alone")[0]["status"]["phase"] == "Succeeded", "the trainer's end"
    )
    installed.kubectl(*scale, "--replicas=2")
    assert installed.finished("alone")[0] == "Complete"
    assert attempts(installed, "alone") == 1


def test_an_upgrade_restarts_no_running_job(installed: InstalledChart) -> None:
    installed.submit(held_job("upgraded", nodes=2))
    installed.running("upgraded")
    installed.install({"gc": {"ttl": "1h", "interval": "30s"}}, command="upgrade")
    installed.let_end("upgraded")
    assert installed.finished("upgraded")[0] == "Complete"
    assert attempts(installed, "upgraded") == 2


def test_records_are_kept_while_their_service_is_down(installed: InstalledChart) -> None:
    workload = installed.kubectl(
        "-n", SYSTEM, "get", "deployment,statefulset", "-o", "name", *OF_THE_RECORDS
    ).strip()
    installed.kubectl("-n", SYSTEM, "scale", workload, "--replicas=0")
    installed.wait(
        lambda: not installed.get("pods", "-n", SYSTEM, *OF_THE_RECORDS)["items"],
        "the record service to end, which answers until then",
    )
    installed.submit(shell_job("owed", "echo hello"))
    assert installed.finished("owed")[0] == "Complete"
    assert installed.job("owed")["status"]["recordState"] == "Pending"
    installed.kubectl("-n", SYSTEM, "scale", workload, "--replicas=1")
    installed.wait(
        lambda: installed.job("owed")["status"].get("recordState") == "Stored", "the record"
    )


def test_a_drain_is_a_disruption_and_uses_no_retry(installed: InstalledChart) -> None:
    # An eviction does not wait for the archiver: the logs are read while the trainers terminate.
    script = (
        'echo attempt $TRAININGJOB_ATTEMPT; trap "sleep 5; exit 143" TERM; '
        'if [ "$TRAININGJOB_ATTEMPT" = 0 ]; then while :; do sleep 0.2; done; fi'
    )
    grace = {"terminationGracePeriodSeconds": 30}
    installed.submit(shell_job("drained", script, nodes=2, pod=grace, backoffLimit=0))
    installed.running("drained")
    selector = "--pod-selector=trainingjob.dev/job-name=drained"
    installed.kubectl("drain", NODE, selector, "--force", "--timeout=180s")
    installed.kubectl("uncordon", NODE)
    assert installed.finished("drained")[0] == "Complete"
    assert attempts(installed, "drained") == 4


def test_a_namespace_with_a_running_job_can_be_deleted(installed: InstalledChart) -> None:
    installed.kubectl("create", "namespace", "leaving")
    job = shell_job("leaves", 'trap "exit 0" TERM; while :; do sleep 0.2; done')
    job["metadata"]["namespace"] = "leaving"
    installed.submit(job)
    installed.kubectl(
        "wait", "-n", "leaving", "tj/leaves", "--for=condition=PodsReady", "--timeout=180s"
    )
    installed.kubectl("delete", "namespace", "leaving", "--timeout=180s")


def test_a_dead_kubelet_blocks_a_job_without_losing_data(installed: InstalledChart) -> None:
    installed.submit(held_job("silent"))
    installed.running("silent")
    installed.node.stop_kubelet()
    try:
        installed.wait(lambda: not _node_is_ready(installed), "the node to be given up")
        installed.let_end("silent")
    finally:
        installed.node.start_kubelet()
    installed.wait(lambda: _node_is_ready(installed), "the node to be back")
    assert installed.finished("silent")[0] == "Complete"
    assert attempts(installed, "silent") == 1


def _node_is_ready(installed: InstalledChart) -> bool:
    [node] = installed.get("nodes")["items"]
    conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
    return bool(conditions["Ready"] == "True")
