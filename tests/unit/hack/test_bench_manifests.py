"""Tests of the benchmark's manifests: the same pods for all contestants, and the job of a pod."""

from typing import Any

import pytest

from hack.bench.manifests import (
    PATHS,
    RUN_FOR,
    Kind,
    collection,
    job_of,
    manifest,
    prerequisites,
    ran_for,
)


def pod_template(kind: Kind, ranks: int) -> dict[str, Any]:
    """Find the template of the pods in what is submitted, or in what it refers to."""
    spec: dict[str, Any] = manifest(kind, "job-1", ranks=ranks, run_ms=100)["spec"]
    if kind == "TrainJob":
        [(_, runtime)] = prerequisites(kind, "burst", run_ms=100)
        spec = runtime["spec"]["template"]["spec"]
    if kind in {"JobSet", "TrainJob"}:
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    found: dict[str, Any] = spec["template"]
    return found


@pytest.mark.parametrize("kind", [kind for kind in PATHS if kind != "Pod"])
@pytest.mark.parametrize("ranks", [1, 8])
def test_all_get_the_same_pods(kind: Kind, ranks: int) -> None:
    template, ours = pod_template(kind, ranks), pod_template("TrainingJob", ranks)
    for each in (template, ours):
        each["spec"]["containers"][0].pop("name")  # Kubeflow Trainer asks for one of its own
    assert template == ours
    assert template["metadata"]["annotations"] == {RUN_FOR: "100ms"}


def test_a_gang_has_a_pod_for_each_rank() -> None:
    spec = {kind: manifest(kind, "job-1", ranks=8, run_ms=100)["spec"] for kind in PATHS}
    assert spec["TrainingJob"]["numNodes"] == 8
    assert spec["TrainJob"]["trainer"] == {"numNodes": 8}
    below = spec["JobSet"]["replicatedJobs"][0]["template"]["spec"]
    for job in (spec["Job"], below):
        assert (job["completions"], job["parallelism"]) == (8, 8)
        assert job["completionMode"] == "Indexed"


def test_a_pod_without_a_controller_is_its_own_job() -> None:
    pod = manifest("Pod", "job-1", ranks=1, run_ms=100)
    assert ran_for(pod) == 0.1
    assert job_of(pod) == ""


def test_a_pods_job_is_the_one_that_was_submitted() -> None:
    owner = {"name": "job-1", "uid": "1", "controller": True}
    other = owner | {"controller": False, "name": "x"}
    assert job_of({"metadata": {"ownerReferences": [other, owner]}}) == "job-1"


def test_the_job_between_a_jobset_and_its_pod_is_passed_over() -> None:
    between = {"name": "job-1-node-0", "uid": "1", "controller": True}
    labels = {"jobset.sigs.k8s.io/jobset-name": "job-1"}
    assert job_of({"metadata": {"ownerReferences": [between], "labels": labels}}) == "job-1"


def test_what_the_bench_did_not_make_runs_for_ever() -> None:
    assert ran_for({"metadata": {}}) is None


def test_a_collection_is_of_one_namespace_or_of_all() -> None:
    assert collection("JobSet") == "/apis/jobset.x-k8s.io/v1alpha2/jobsets"
    assert collection("Pod", "burst") == "/api/v1/namespaces/burst/pods"
