"""Environment variables of each container, and their limit of size in Linux."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.views import make_status, make_view
from trainingjob_api.validation import parse_spec
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.manifests import pod_manifest

Object = dict[str, Any]

LONGEST = JobKey("n" * 63, "j" * 63)
OF_THE_JOB = {"TRAININGJOB_NAME", "TRAININGJOB_UID", "TRAININGJOB_ATTEMPT", "TRAININGJOB_DIR"}
LARGEST_STRING = 128 * 1024
"""Linux: MAX_ARG_STRLEN, the name of a variable and the zero at its end included."""


def container(name: str) -> Object:
    return {"name": name, "image": "example/image:1"}


def pod(framework: str, *, nodes: int = 2, others: int = 1, init: int = 1) -> Object:
    """The last pod of a job of the longest name, in an attempt with the most digits."""
    job = make_job(nodes=nodes, framework=framework)
    job["spec"]["template"]["spec"] |= {
        "containers": [*(container(f"beside-{i}") for i in range(others)), container("trainer")],
        "initContainers": [container(f"before-{i}") for i in range(init)],
    }
    view = make_view(make_status(attempt=99_999_999), nodes=nodes, key=LONGEST)
    return pod_manifest(view, parse_spec(job["spec"]), nodes - 1)


def variables(made: Object, name: str) -> dict[str, str]:
    spec = made["spec"]
    [found] = [c for c in spec["containers"] + spec["initContainers"] if c["name"] == name]
    return {e["name"]: e["value"] for e in found.get("env", [])}


@pytest.mark.parametrize("framework", ["Plain", "Torch", "JAX", "TensorFlow", "XGBoost"])
def test_rendezvous_variables_are_in_the_main_container_and_not_in_others(framework: str) -> None:
    made = pod(framework)
    main = variables(made, "trainer")

    assert variables(made, "beside-0").keys() == OF_THE_JOB
    assert main.keys() >= OF_THE_JOB
    small = {name: value for name, value in main.items() if name != "TF_CONFIG"}
    assert variables(made, "before-0") == small
    assert ("TF_CONFIG" in main) is (framework == "TensorFlow")


def test_a_program_starts_with_the_names_of_a_thousand_ranks_of_the_longest_names() -> None:
    value = variables(pod("TensorFlow", nodes=1000), "trainer")["TF_CONFIG"]

    assert len(f"TF_CONFIG={value}\0".encode()) <= LARGEST_STRING
    workers = json.loads(value)["cluster"]["worker"]
    assert len(set(workers)) == 1000
    host, service = workers[-1].partition(":")[0].split(".")
    made = pod("TensorFlow", nodes=1000)["spec"]
    assert (host, service) == (made["hostname"], made["subdomain"])
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import os; print(len(os.environ['TF_CONFIG']))"],
        env={"TF_CONFIG": value},
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) == len(value)


def test_a_pod_with_many_containers_contains_the_names_of_all_ranks_only_once() -> None:
    made = json.dumps(pod("TensorFlow", nodes=1000, others=15, init=16))

    assert made.count("TF_CONFIG") == 1
    assert len(made) < 200_000
