"""Runs a cluster whose pods are processes of this machine: the sandbox, or a real control plane.

On a real control plane the real scheduler puts the pods on our node, past the node's taint: an
admission policy gives the pods of TrainingJobs the toleration, as an administrator would who keeps
nodes for training. The tests use the same jobs on both.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from uuid import uuid4

from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import ApiServerUnderTest
from trainingjob_api.constants import LABEL_JOB_UID
from trainingjob_sandbox.client import ApiClient
from trainingjob_sandbox.node.cluster_nonce import write_nonce
from trainingjob_sandbox.node.constants import NONCE_VARIABLE, TAINT
from trainingjob_sandbox.starter import Sandbox

_POLICY: Final = "training-jobs-tolerate-the-node-of-processes"
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_PATIENCE_S: Final = 90.0
_GRACE_S: Final = 5.0
_STOP_S: Final = 20.0


@dataclass(frozen=True)
class ProcessNode:
    """A process node and its cluster.

    Attributes:
        kubeconfig: of the administrator.
        root: the node's folder.
        operator_kubeconfig: of the operator, with its own rights if the cluster enforces any.
        plane: the control plane when it is a real one.
    """

    kubeconfig: Path
    root: Path
    operator_kubeconfig: Path
    plane: ControlPlane | None = None

    def process(self, *arguments: str, nonce: str) -> "subprocess.Popen[str]":
        """Start a node process for this cluster.

        Args:
            *arguments: further arguments.
            nonce: the mark that it must find in the cluster.
        """
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "trainingjob_sandbox.node"),
                *("--kubeconfig", str(self.kubeconfig)),
                *(_serving(self.plane) if self.plane else ()),
                *arguments,
            ],
            env={"PATH": os.environ["PATH"], NONCE_VARIABLE: nonce},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def sandbox_node() -> Iterator[ProcessNode]:
    """Run the whole sandbox, with its node."""
    with Sandbox(grace_s=_GRACE_S) as sandbox:
        yield ProcessNode(sandbox.kubeconfig, sandbox.root, sandbox.kubeconfig)


@contextmanager
def real_node(server: ApiServerUnderTest, root: Path) -> Iterator[ProcessNode]:
    """Run a node process on a real control plane, which has a scheduler."""
    plane = server.plane
    assert plane is not None
    _tolerate(plane)
    cluster = ProcessNode(plane.kubeconfig, root, server.operator_kubeconfig, plane)
    words = ("--root", str(root), "--log-file", str(root.with_suffix(".log")), "--lifeline")
    with cluster.process(*words, "--grace", str(_GRACE_S), nonce=_mark(plane)) as node:
        try:
            assert node.stdout is not None
            assert node.stdout.readline() == "ready\n", node.communicate()
            _wait_until_schedulable(plane)
            yield cluster
        finally:
            node.terminate()
            try:
                node.wait(_STOP_S)
            finally:
                node.kill()  # the pods' supervisors kill the remaining processes


def _serving(plane: ControlPlane) -> tuple[str, ...]:
    """Return the arguments with the certificate of the node's log endpoint, which the API server verifies."""
    files = plane.authority.server(f"node-{uuid4().hex[:8]}")
    return ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))


def _mark(plane: ControlPlane) -> str:
    async def mark() -> str:
        async with ApiClient.from_kubeconfig(plane.kubeconfig) as client:
            return await write_nonce(client)

    with ThreadPoolExecutor(1) as pool:  # this thread may already run an event loop
        return pool.submit(asyncio.run, mark()).result()


def _tolerate(plane: ControlPlane) -> None:
    """Let the pods of TrainingJobs tolerate the node's taint, and wait until they do."""
    tolerations = "/spec/tolerations"
    created = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    ours = {"matchExpressions": [{"key": LABEL_JOB_UID, "operator": "Exists"}]}
    expression = (
        f'(has(object.spec.tolerations) ? [] : [JSONPatch{{op: "add", path: "{tolerations}", '
        f'value: []}}]) + [JSONPatch{{op: "add", path: "{tolerations}/-", value: '
        f'Object.spec.tolerations{{key: "{TAINT}", operator: "Exists"}}}}]'
    )
    policy = {
        "matchConstraints": {
            "resourceRules": [{**created, "resources": ["pods"]}],
            "objectSelector": ours,
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    for kind, plural, spec in (
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies", policy),
        (
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            {"policyName": _POLICY},
        ),
    ):
        _create(plane, f"{_ADMISSION}/{plural}", {"kind": kind, "spec": spec})
    _eventually(lambda: _pod_tolerates(plane), "no pod gets the toleration")


def _create(plane: ControlPlane, path: str, body: dict[str, Any]) -> None:
    version = _ADMISSION.removeprefix("/apis/")
    try:
        plane.request(path, {"apiVersion": version, "metadata": {"name": _POLICY}, **body})
    except HTTPError as error:
        with error:
            if error.code != 409:  # already done by an earlier node of this control plane
                raise AssertionError(error.read().decode()) from error


def _pod_tolerates(plane: ControlPlane) -> bool:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked", "labels": {LABEL_JOB_UID: "asked"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    answer = plane.request("/api/v1/namespaces/default/pods?dryRun=All", pod)
    return any(each.get("key") == TAINT for each in answer["spec"].get("tolerations") or [])


def _wait_until_schedulable(plane: ControlPlane) -> None:
    """Wait until the control plane has removed the not-ready taint from the node."""

    def schedulable() -> bool:
        nodes = plane.request("/api/v1/nodes")["items"]
        return any([taint["key"] for taint in n["spec"]["taints"]] == [TAINT] for n in nodes)

    _eventually(schedulable, "the node is not schedulable")


def _eventually(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
