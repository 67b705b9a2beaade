"""The chart's admission policy on a real API server: which users may write which templates.

A Role gives each user of a test exactly these rights; templates are validated with a dry run.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import Api
from tests.support.apiserver.audit import AuditLog
from tests.support.processes.operator import OperatorProcess
from tests.support.real.chart import render
from tests.support.real.real_cluster import kubectl as run_kubectl
from tests.support.real.users import (
    ALL_AT_ONCE,
    JOBS,
    NO_TOKEN,
    PODS,
    POLICY_KINDS,
    SETTLED,
    Object,
    Users,
    doubts_of,
    job_with,
    until_refused,
    with_container,
    with_volume,
)
from trainingjob_sandbox.client import ApiError

pytestmark = pytest.mark.real_only

ROBOT = {
    "apiGroups": [""],
    "resources": ["serviceaccounts"],
    "resourceNames": ["robot"],
    "verbs": ["impersonate"],
}
READING = {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get"]}


def secured(**context: Any) -> Object:
    return with_container(securityContext=context)


PLAIN: dict[str, Object] = {
    "no token": NO_TOKEN,
    "the default account by name": {**NO_TOKEN, "serviceAccountName": "default"},
    "a Secret that the node pulls with": {**NO_TOKEN, "imagePullSecrets": [{"name": "s"}]},
    "empty names": {**NO_TOKEN, "serviceAccountName": "", "serviceAccount": ""},
    "volumes that pods have": {
        **NO_TOKEN,
        "volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "c", "downwardAPI": {}},
            {"name": "d", "projected": {"sources": [{"downwardAPI": {}}]}},
        ],
    },
    "fewer rights": secured(
        privileged=False,
        capabilities={"drop": ["ALL"]},
        seccompProfile={"type": "RuntimeDefault"},
        procMount="Default",
        runAsUser=1000,
    ),
    "variables, ports and probes": with_container(
        env=[
            {"name": "LEVEL", "value": "3"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        ports=[{"containerPort": 80}],
        livenessProbe={"httpGet": {"port": 80}},
        lifecycle={"preStop": {"sleep": {"seconds": 1}}},
    ),
}

HOST = "remove hostNetwork, hostPID, hostIPC, hostPort"
VOLUMES = "(no hostPath)"
PRIVILEGED = "remove privileged, capabilities.add"
ACCOUNT = "remove serviceAccountName from spec.template"
TOKEN = "set automountServiceAccountToken to false"
SECRETS = "name no Secrets"
CONFIG_MAPS = "name no ConfigMaps"
UNCONFINED = {"type": "Unconfined"}

REFUSED: dict[str, tuple[Object, str]] = {
    "hostNetwork": ({**NO_TOKEN, "hostNetwork": True}, HOST),
    "hostPID": ({**NO_TOKEN, "hostPID": True}, HOST),
    "a node, past the scheduler": ({**NO_TOKEN, "nodeName": "control-plane"}, HOST),
    "hostIPC": ({**NO_TOKEN, "hostIPC": True}, HOST),
    "hostPort": (with_container(ports=[{"containerPort": 80, "hostPort": 80}]), HOST),
    "a probe of a host": (
        with_container(livenessProbe={"tcpSocket": {"host": "10.0.0.1", "port": 80}}),
        HOST,
    ),
    "a hook of a host": (
        with_container(lifecycle={"postStart": {"httpGet": {"host": "10.0.0.1", "port": 80}}}),
        HOST,
    ),
    "hostPath": (with_volume(hostPath={"path": "/"}), VOLUMES),
    "nfs": (with_volume(nfs={"server": "s", "path": "/"}), VOLUMES),
    "csi": (with_volume(csi={"driver": "d"}), VOLUMES),
    "privileged": (secured(privileged=True), PRIVILEGED),
    "a capability": (secured(capabilities={"add": ["NET_BIND_SERVICE"]}), PRIVILEGED),
    "procMount": (secured(procMount="Unmasked"), PRIVILEGED),
    "seccomp": (secured(seccompProfile=UNCONFINED), PRIVILEGED),
    "seccomp of the pod": (
        {**NO_TOKEN, "securityContext": {"seccompProfile": UNCONFINED}},
        PRIVILEGED,
    ),
    "AppArmor": (secured(appArmorProfile=UNCONFINED), PRIVILEGED),
    "SELinux": (secured(seLinuxOptions={"type": "spc_t"}), PRIVILEGED),
    "a sysctl": (
        {**NO_TOKEN, "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        PRIVILEGED,
    ),
    "hostProcess": (secured(windowsOptions={"hostProcess": True}), PRIVILEGED),
    "a privileged init container": (
        {
            **NO_TOKEN,
            "initContainers": [
                {"name": "i", "image": "i", "securityContext": {"privileged": True}}
            ],
        },
        PRIVILEGED,
    ),
    "an account": ({**NO_TOKEN, "serviceAccountName": "robot"}, ACCOUNT),
    "an account by its old field": ({**NO_TOKEN, "serviceAccount": "robot"}, ACCOUNT),
    "an account by both, of which the new one counts": (
        {**NO_TOKEN, "serviceAccount": "default", "serviceAccountName": "robot"},
        ACCOUNT,
    ),
    "the default account's token": ({}, TOKEN),
    "a projected token": (
        with_volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
        TOKEN,
    ),
    "a Secret's volume": (with_volume(secret={"secretName": "s"}), SECRETS),
    "a projected Secret": (
        with_volume(projected={"sources": [{"secret": {"name": "s"}}]}),
        SECRETS,
    ),
    "a Secret's key": (
        with_container(
            env=[{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
        ),
        SECRETS,
    ),
    "a whole Secret": (with_container(envFrom=[{"secretRef": {"name": "s"}}]), SECRETS),
    "a ConfigMap's volume": (with_volume(configMap={"name": "c"}), CONFIG_MAPS),
    "a ConfigMap's key": (
        with_container(
            env=[{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
        ),
        CONFIG_MAPS,
    ),
    "a whole ConfigMap": (with_container(envFrom=[{"configMapRef": {"name": "c"}}]), CONFIG_MAPS),
}


@pytest.fixture(scope="module")
def policy(control_plane: ControlPlane) -> Iterator[str]:
    """Create the policy of a default install for the tests of this module; yield its name."""
    objects = [each for each in render() if each["kind"] in POLICY_KINDS]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    run_kubectl(control_plane.kubeconfig, "apply", "-f", "-", stdin=listed)
    yield str(objects[0]["metadata"]["name"])
    run_kubectl(control_plane.kubeconfig, "delete", "-f", "-", stdin=listed)


@pytest.fixture
async def users(policy: str, plane: ControlPlane, api: Api) -> AsyncIterator[Users]:
    """Yield the factory of users, once the policy is enforced."""
    async with AsyncExitStack() as stack:
        made = Users(plane, api, stack)
        await until_refused(await made.add(JOBS), job_with(ALL_AT_ONCE))
        yield made


async def test_the_right_to_create_jobs_does_not_escalate_privileges(
    users: Users, policy: str
) -> None:
    jobs_only = await users.add(JOBS)

    for pod in PLAIN.values():
        await jobs_only.creates(job_with(pod))
    for name, (pod, words) in REFUSED.items():
        said = await jobs_only.refusal(job_with(pod))
        assert words in said, f"{name}: {said}"
        assert policy in said
        assert "grant you" in said, said  # the other way out
    annotated = job_with(NO_TOKEN)
    annotation = "container.apparmor.security.beta.kubernetes.io/trainer"
    annotated["spec"]["template"]["metadata"] = {"annotations": {annotation: "unconfined"}}
    assert PRIVILEGED in await jobs_only.refusal(annotated)
    assert HOST in await jobs_only.refusal(job_with(REFUSED["hostPID"][0], suspend=True))


async def test_users_who_may_create_pods_are_admitted(users: Users) -> None:
    pods_too = await users.add(JOBS, PODS)
    await pods_too.creates(job_with(ALL_AT_ONCE))
    for pod, _ in REFUSED.values():
        await pods_too.creates(job_with(pod))


async def test_each_additional_right_admits_only_its_own_templates(users: Users) -> None:
    robots = await users.add(JOBS, ROBOT)
    await robots.creates(job_with({"serviceAccountName": "robot"}))  # with its token
    await robots.creates(job_with({"serviceAccount": "robot"}))
    for other in ("default", "other"):
        said = await robots.refusal(job_with({"serviceAccountName": other}))
        assert f"`impersonate` on the serviceaccount `{other}`" in said
    assert SECRETS in await robots.refusal(job_with(REFUSED["a whole Secret"][0]))

    readers = await users.add(JOBS, READING)
    for name, (pod, words) in REFUSED.items():
        if words in {SECRETS, CONFIG_MAPS}:
            await readers.creates(job_with(pod))
        else:
            assert words in await readers.refusal(job_with(pod)), name


async def test_an_admitted_job_is_checked_again_only_if_its_template_changes(
    users: Users, api: Api
) -> None:
    jobs_only = await users.add(JOBS)
    await api.apply(job_with(ALL_AT_ONCE, "theirs", suspend=True))
    await api.patch_job_status("theirs", SETTLED)

    await jobs_only.patches("theirs", {"metadata": {"finalizers": ["example.com/held"]}})
    await jobs_only.patches("theirs", {"metadata": {"finalizers": None}, "spec": {"numNodes": 2}})
    with pytest.raises(ApiError, match="remove hostNetwork"):
        await jobs_only.patches("theirs", {"spec": {"template": {"spec": {"hostPID": True}}}})
    await jobs_only.patches("theirs", {"spec": {"suspend": False}})

    await jobs_only.creates(job_with(NO_TOKEN, "mine", suspend=True), dry_run=False)
    await api.patch_job_status("mine", SETTLED)
    with pytest.raises(ApiError, match="remove privileged"):
        await jobs_only.patches("mine", {"spec": {"template": {"spec": secured(privileged=True)}}})


async def test_a_template_of_maximum_size_stays_within_the_cel_cost_limit(users: Users) -> None:
    """The API server rejects a request if an expression exceeds the cost limit."""
    jobs_only = await users.add(JOBS)
    variables = [{"name": f"V{number}", "value": "x"} for number in range(512)]
    names = ["trainer", *(f"side-{number}" for number in range(31))]
    containers = [{"name": name, "image": "i", "env": variables} for name in names]
    pod = {**NO_TOKEN, "containers": containers[:16], "initContainers": containers[16:]}
    await jobs_only.creates(job_with(pod))


async def test_the_policys_expressions_pass_type_checking(policy: str, api: Api) -> None:
    assert await doubts_of(api, policy) == []


async def test_the_operator_needs_no_rights_for_the_policy(
    users: Users,
    operator: OperatorProcess,
    operator_user: str,
    audit: AuditLog,
    *,
    api: Api,
) -> None:
    jobs_only = await users.add(JOBS)
    job = job_with({**NO_TOKEN, "schedulerName": "nobody"}, "plain")

    await jobs_only.creates(job, dry_run=False)
    await api.finish_job("plain")

    status = await api.wait_for_phase("plain", "Succeeded")
    assert status["attempt"] == 0
    asked = audit.count(user=operator_user, namespace=api.namespace)
    assert asked.total() > 2
    assert not [kind for kind in asked if kind.code == 403], asked
