"""Template fields that batch/v1 accepts and ignores, a TrainingJob accepts and ignores, too."""

from typing import Any

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]
STRICT = "?fieldValidation=Strict"
"""As kubectl asks for it: what is unknown is refused, and not only dropped."""

OF_A_POD: Object = {
    "name": "mnist",
    "generateName": "mnist-",
    "namespace": "elsewhere",
    "creationTimestamp": None,
    "uid": "3f0c8a52-0000-0000-0000-000000000000",
    "resourceVersion": "17",
    "generation": 3,
    "selfLink": "/api/v1/pods/mnist",
    "labels": None,
    "annotations": {},
}
"""What is in a template that was made from a pod's or a Job's YAML."""

NOTHING: Object = {
    "resources": {},
    "securityContext": {},
    "env": None,
    "envFrom": None,
    "args": None,
    "ports": [],
    "volumeMounts": None,
    "livenessProbe": None,
    "lifecycle": None,
}
OF_NO_USE: Object = {
    "restartPolicy": "Never",
    "securityContext": {},
    "affinity": None,
    "tolerations": None,
    "nodeSelector": None,
    "imagePullSecrets": None,
    "initContainers": [],
    "volumes": [{"name": "scratch", "emptyDir": {}, "hostPath": None}],
    "dnsConfig": None,
    "terminationGracePeriodSeconds": None,
}
TWICE: dict[str, Object] = {
    "a variable": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
    "a port": {"ports": [{"containerPort": 80}, {"containerPort": 80}]},
}
SPEC_TWICE: dict[str, Object] = {
    "a pull secret": {"imagePullSecrets": [{"name": "s"}, {"name": "s"}]},
    "a host": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": [n]} for n in ("a", "b")]},
}
TAKEN: dict[str, Object] = {
    "a pod's metadata": {"metadata": OF_A_POD, "spec": {}},
    "an empty metadata": {"metadata": None, "spec": {}},
    "a container of nulls and empties": {"container": NOTHING, "spec": {}},
    "a spec of nulls and empties": {"spec": OF_NO_USE},
    **{f"{what} twice": {"container": fields, "spec": {}} for what, fields in TWICE.items()},
    **{f"{what} twice": {"spec": fields} for what, fields in SPEC_TWICE.items()},
}
MOUNT = {"name": "v", "mountPath": "/v"}
REFUSED: dict[str, Object] = {
    "a misspelt field of the metadata": {"metadata": {"nane": "x"}, "spec": {}},
    "a label of another type": {"metadata": {"labels": {"a": 1}}, "spec": {}},
    "a mount path twice": {
        "container": {"volumeMounts": [MOUNT, MOUNT]},
        "spec": {"volumes": [{"name": "v", "emptyDir": {}}]},
    },
    "a volume twice": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}] * 2}},
}


def template(case: Object) -> Object:
    container = {"name": "trainer", "image": "i", **case.get("container", {})}
    made = {"spec": {"containers": [container], **case["spec"]}}
    return made | ({"metadata": case["metadata"]} if "metadata" in case else {})


async def ours(api: Api, case: Object, *, dry_run: bool = True) -> Object:
    job = make_job("mnist", template=template(case), namespace=api.namespace) | {"status": {}}
    job["metadata"]["creationTimestamp"] = None
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/trainingjobs{STRICT}"
    return await api.client.create(path + ("&dryRun=All" if dry_run else ""), job)


async def theirs(api: Api, case: Object) -> Object:
    body = template(case)
    body["spec"].setdefault("restartPolicy", "Never")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "mnist", "creationTimestamp": None},
        "spec": {"template": body},
        "status": {},
    }
    path = f"/apis/batch/v1/namespaces/{api.namespace}/jobs{STRICT}&dryRun=All"
    return await api.client.create(path, job)


@pytest.mark.parametrize("case", TAKEN)
async def test_a_template_accepted_by_batch_is_accepted(api: Api, case: str) -> None:
    if api.server.sandbox is None:  # the sandbox has no Jobs
        await theirs(api, TAKEN[case])
    await ours(api, TAKEN[case])


@pytest.mark.parametrize("case", REFUSED)
async def test_a_template_rejected_by_batch_is_rejected(api: Api, case: str) -> None:
    if api.server.sandbox is None:
        with pytest.raises(ApiError):
            await theirs(api, REFUSED[case])
    with pytest.raises(ApiError) as caught:
        await ours(api, REFUSED[case])
    assert caught.value.status in {400, 422}


async def test_ignored_template_fields_do_not_reach_the_pod(
    api: Api, operator: OperatorProcess
) -> None:
    del operator
    twice = TWICE["a variable"] | TWICE["a port"]
    metadata = OF_A_POD | {"labels": {"team": "a"}}
    case = {"metadata": metadata, "container": twice, "spec": {"schedulerName": "nobody"}}
    await ours(api, case, dry_run=False)
    [pod] = await api.wait_for_pods("mnist", 1)
    assert pod["metadata"]["name"].startswith("mnist-")
    assert pod["metadata"]["namespace"] == api.namespace
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["uid"] != OF_A_POD["uid"]
    env = pod["spec"]["containers"][0]["env"]
    assert [each["value"] for each in env if each["name"] == "A"] == ["1", "2"]
