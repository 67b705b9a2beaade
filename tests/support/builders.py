"""Builds valid TrainingJob manifests, with defaults for what a test does not set."""

from typing import Any

from trainingjob_api.constants import API_VERSION, KIND_TRAINING_JOB, MAIN_CONTAINER


def make_job(
    name: str = "mnist",
    *,
    namespace: str = "ml",
    nodes: int = 1,
    framework: str = "Plain",
    command: list[str] | None = None,
    image: str = "example/mnist:1.0",
    env: dict[str, str] | None = None,
    backoff_limit: int = 3,
    suspend: bool = False,
    **spec: Any,
) -> dict[str, Any]:
    """A TrainingJob's manifest as a user would apply it, of one container called `trainer`.

    Args:
        name: the job's name.
        namespace: the job's namespace.
        nodes: `spec.numNodes`.
        framework: `spec.framework`.
        command: the container's command.
        image: the container's image.
        env: the container's variables.
        backoff_limit: `spec.backoffLimit`.
        suspend: `spec.suspend`.
        **spec: further fields of the spec under their wire names; `template` replaces the one
            made from `command`, `image` and `env`.
    """
    container: dict[str, Any] = {
        "name": MAIN_CONTAINER,
        "image": image,
        "command": command or ["python", "train.py"],
    }
    if env:
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND_TRAINING_JOB,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "numNodes": nodes,
            "framework": framework,
            "template": {"spec": {"containers": [container]}},
            "backoffLimit": backoff_limit,
            "suspend": suspend,
            **spec,
        },
    }


def unscheduled(job: dict[str, Any], **pod_spec: Any) -> dict[str, Any]:
    """Return the job with pods that no scheduler binds, so that the test can play the kubelet.

    Args:
        job: from `make_job`.
        **pod_spec: further fields of its pods' spec.
    """
    template = job["spec"]["template"]
    spec = {**template["spec"], "schedulerName": "nobody", **pod_spec}
    return {**job, "spec": {**job["spec"], "template": {**template, "spec": spec}}}
