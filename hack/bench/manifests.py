"""Builds the same job as each kind of object that the benchmark submits."""

from typing import Final, Literal

from hack.bench.access import Object

RUN_FOR: Final = "bench.trainingjob.dev/run-for"
"""The pods' annotation with their run time, as a Go duration: `100ms`."""

Kind = Literal["TrainingJob", "Job", "JobSet", "TrainJob", "Pod"]
PATHS: Final[dict[Kind, str]] = {
    "TrainingJob": "/apis/trainingjob.dev/v1alpha1",
    "Job": "/apis/batch/v1",
    "JobSet": "/apis/jobset.x-k8s.io/v1alpha2",
    "TrainJob": "/apis/trainer.kubeflow.org/v1alpha1",
    "Pod": "/api/v1",
}

_JOBSET_NAME: Final = "jobset.sigs.k8s.io/jobset-name"
"""The label with the JobSet of a pod, whose controller is a Job; a TrainJob's JobSet has the TrainJob's name."""

_RUNTIME: Final = "bench"
_TRAINER: Final = "node"
"""The name of Kubeflow Trainer's main container."""


def collection(kind: Kind, namespace: str | None = None) -> str:
    """Return the path of all objects of a kind, in one namespace or in all."""
    part = "" if namespace is None else f"/namespaces/{namespace}"
    return f"{PATHS[kind]}{part}/{kind.lower()}s"


def manifest(kind: Kind, name: str, *, ranks: int, run_ms: int) -> Object:
    """Return a job with one pod for each rank; for the kind Pod, the pod itself, without a controller."""
    template = _pod_template(run_ms)
    body = _typed(kind, name)
    if kind == "Pod":
        body["metadata"]["annotations"] = template["metadata"]["annotations"]
        return body | {"spec": template["spec"]}
    if kind == "TrainJob":
        return body | {"spec": _train_job(ranks)}
    if kind == "JobSet":
        return body | {"spec": _job_set(template, ranks)}
    if kind == "Job":
        return body | {"spec": _job(template, ranks)}
    return body | {"spec": ({"numNodes": ranks} if ranks > 1 else {}) | {"template": template}}


def prerequisites(kind: Kind, namespace: str, *, run_ms: int) -> list[tuple[str, Object]]:
    """Return the objects that must exist before such jobs are submitted, each with the path to post it to."""
    if kind != "TrainJob":
        return []
    template = _pod_template(run_ms)
    template["spec"]["containers"][0]["name"] = _TRAINER
    node = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"template": template},
    }
    runtime = _typed(kind, _RUNTIME) | {
        "kind": "TrainingRuntime",
        "spec": {
            "mlPolicy": {"numNodes": 1},
            "template": {"spec": {"replicatedJobs": [{"name": _TRAINER, "template": node}]}},
        },
    }
    return [(f"{PATHS[kind]}/namespaces/{namespace}/trainingruntimes", runtime)]


def job_of(pod: Object) -> str:
    """Return the name of the submitted job that a pod belongs to; empty if it has no controller."""
    metadata = pod["metadata"]
    if name := (metadata.get("labels") or {}).get(_JOBSET_NAME):
        return str(name)
    owners = metadata.get("ownerReferences") or []
    return next((str(owner["name"]) for owner in owners if owner.get("controller")), "")


def ran_for(pod: Object) -> float | None:
    """Return the run time in seconds of a pod of the benchmark; None if the pod is not one of them."""
    text = (pod["metadata"].get("annotations") or {}).get(RUN_FOR)
    return None if text is None else int(text.removesuffix("ms")) / 1000


def _typed(kind: Kind, name: str) -> Object:
    group_version = PATHS[kind].removeprefix("/apis/").removeprefix("/api/")
    return {"apiVersion": group_version, "kind": kind, "metadata": {"name": name}}


def _pod_template(run_ms: int) -> Object:
    containers = [{"name": "trainer", "image": "example/image:1", "command": ["train"]}]
    return {
        "metadata": {"annotations": {RUN_FOR: f"{run_ms}ms"}},
        "spec": {"restartPolicy": "Never", "containers": containers},
    }


def _job(template: Object, ranks: int) -> Object:
    if ranks == 1:
        return {"template": template}
    gang = {"completions": ranks, "parallelism": ranks, "completionMode": "Indexed"}
    return gang | {"template": template}


def _job_set(template: Object, ranks: int) -> Object:
    job = {"name": _TRAINER, "replicas": 1, "template": {"spec": _job(template, ranks)}}
    return {"replicatedJobs": [job]}


def _train_job(ranks: int) -> Object:
    reference = {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": _RUNTIME,
    }
    return {"runtimeRef": reference, "trainer": {"numNodes": ranks}}
