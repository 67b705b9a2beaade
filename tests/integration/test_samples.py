"""Sample jobs that train, from `kubectl apply` to completion, on the sandbox and on a real cluster.

The operator and the node are processes; on a real control plane its scheduler puts the pods there.
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.apiserver.api import condition
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode
from tests.support.real.real_cluster import KUBECTL, kubectl
from tests.support.repository import ROOT
from tests.support.volume.volume import wait_until

SAMPLES = ROOT / "manifests" / "samples"

pytestmark = [
    pytest.mark.skipif(not KUBECTL.exists(), reason="there is no kubectl here"),
    pytest.mark.skipif(
        sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
    ),
]


@pytest.fixture(scope="module")
def operator(
    process_node: ProcessNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(process_node.operator_kubeconfig, log) as process:
        process.wait_until_ready()
        yield process
        assert process.is_running, process.log()


@pytest.mark.long
def test_the_digits_sample_trains_from_apply_to_complete(
    operator: OperatorProcess, process_node: ProcessNode
) -> None:
    run = partial(kubectl, process_node.kubeconfig)
    sample = str(SAMPLES / "digits.yaml")
    assert "trainingjob.trainingjob.dev/digits created" in run("apply", "-f", sample)
    run("wait", "tj/digits", "--for=condition=Finished", "--timeout=90s")

    job = json.loads(run("get", "tj", "digits", "-o", "json"))
    status = job["status"]
    assert condition(status, "Complete")["status"] == "True", operator.log()
    assert (status["phase"], status["completedIndexes"], status["exitCode"]) == (
        "Succeeded",
        "0-1",
        0,
    )
    assert (status["attempt"], status["restarts"], status["disruptions"]) == (0, 0, 0)
    printed = run("logs", "-l", "trainingjob.dev/job-name=digits", "--tail=-1", "--prefix")
    accuracies = re.findall(r"epoch \d/8 .* held-out accuracy ([\d.]+)", printed)
    assert len(accuracies) == 8
    assert float(accuracies[-1]) >= 0.9
    assert printed.count("done: all 2 ranks have equal weights") == 2
    listed = run("get", "pods", "-l", "trainingjob.dev/job-name=digits", "-o", "json")
    pods = json.loads(listed)["items"]
    assert {pod["status"]["phase"] for pod in pods} == {"Succeeded"}
    # An Event is sent after the status is written.
    wait_until(lambda: "CompletionsReached" in run("events", "--for", "tj/digits"), within_s=90)

    run("delete", "-f", sample)
    ours = ("pods,services", "-l", "trainingjob.dev/job-name=digits")
    run("wait", "--for=delete", *ours, "--timeout=60s")

    assert run("get", *ours, "-o", "name") == ""
