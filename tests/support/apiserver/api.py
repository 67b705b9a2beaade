"""Connection to the API server under test, and a client with helpers for jobs and pods."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hack.cluster.control_plane import ControlPlane
from tests.support.poll_intervals import poll_intervals
from trainingjob_api.crd import retention_policy_crd, training_job_crd
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.client import ApiClient, ApiError

Object = dict[str, Any]
PATIENCE_S = 60.0
COLLECTED_S = 90.0
"""The garbage collector looks for kinds that are new every 30 s, and our definitions may be."""

_CONTROLLERS_PATIENCE_S = 90.0


@dataclass(frozen=True)
class OperatorAccount:
    """The user account of the operator; no other client uses it."""

    user: str
    kubeconfig: Path


@dataclass(frozen=True)
class ApiServerUnderTest:
    """Addresses and credentials of the API server under test.

    Attributes:
        kubeconfig: lets the administrator in.
        sandbox: the server itself when it is ours, for tests that stage its faults.
        plane: the control plane when it is a real one that these tests started.
        operator: whom the operator is there, and how it gets in; None: it is the administrator.
    """

    kubeconfig: Path
    sandbox: ApiServerThread | None = None
    plane: ControlPlane | None = None
    operator: OperatorAccount | None = None

    @property
    def operator_kubeconfig(self) -> Path:
        """Kubeconfig of the operator, with the rights of a real installation if they are known."""
        return self.operator.kubeconfig if self.operator is not None else self.kubeconfig

    @property
    def inside(self) -> ApiServerThread:
        """The sandbox's server."""
        assert self.sandbox is not None
        return self.sandbox


@contextmanager
def sandbox_api_server(folder: Path) -> Iterator[ApiServerUnderTest]:
    """Run the sandbox's API server with both CRDs in this process."""
    with ApiServerThread(crds=[training_job_crd(), retention_policy_crd()]) as thread:
        path = folder / "kubeconfig"
        thread.write_kubeconfig(path)
        yield ApiServerUnderTest(path, thread)


class Api:
    """A client for one namespace. Also plays the kubelet in tests without a node."""

    def __init__(self, server: ApiServerUnderTest, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self.client = ApiClient.from_kubeconfig(server.kubeconfig)
        self._core = f"/api/v1/namespaces/{namespace}"
        self._jobs = f"/apis/trainingjob.dev/v1alpha1/namespaces/{namespace}/trainingjobs"

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        await self.client.create("/api/v1/namespaces", body)
        if self.server.sandbox is None:
            await self._wait_for_account()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.client.delete(f"/api/v1/namespaces/{self.namespace}")
        except ApiError as refused:
            # Already deleted, or terminating, because of the test itself.
            if not (refused.not_found or refused.conflict):
                raise
        finally:
            await self.client.__aexit__(kind, error, trace)

    async def _wait_for_account(self) -> None:
        """Wait until pods are admitted: a controller makes the account that they run as.

        It may be late, for it finds its way back to an API server that was restarted only slowly.
        """
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default"
        deadline, pause = time.monotonic() + _CONTROLLERS_PATIENCE_S, poll_intervals()
        while True:
            try:
                await self.client.get(path)
            except ApiError as error:
                if not error.not_found or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(next(pause))
            else:
                return

    async def reconnect(self) -> None:
        """Drop the connections to an API server that has been restarted."""
        await self.client.__aexit__(None, None, None)
        await self.client.__aenter__()

    # --- jobs ---------------------------------------------------------------------------------

    async def apply(self, job: Object) -> Object:
        """Create a TrainingJob in this namespace."""
        job = {**job, "metadata": {**job["metadata"], "namespace": self.namespace}}
        return await self.client.create(self._jobs, job)

    async def job(self, name: str) -> Object:
        """Read a TrainingJob."""
        return await self.client.get(f"{self._jobs}/{name}")

    async def patch_job(self, name: str, patch: Object) -> Object:
        """Merge-patch a TrainingJob."""
        return await self.client.patch(f"{self._jobs}/{name}", patch)

    async def patch_job_status(self, name: str, patch: Object) -> Object:
        """Merge-patch a TrainingJob's status, which only the operator should do."""
        return await self.client.patch(f"{self._jobs}/{name}/status", {"status": patch})

    async def delete_job(self, name: str) -> None:
        """Delete a TrainingJob."""
        await self.client.delete(f"{self._jobs}/{name}")

    async def job_is_gone(self, name: str) -> bool:
        """True if there is no TrainingJob of this name."""
        try:
            await self.job(name)
        except ApiError as error:
            if error.not_found:
                return True
            raise
        return False

    async def wait_until_gone(self, name: str, *, patience_s: float = PATIENCE_S) -> None:
        """Wait until there is no TrainingJob of this name.

        Raises:
            AssertionError: it is still there after `patience_s`.
        """
        deadline, pause = time.monotonic() + patience_s, poll_intervals()
        while not await self.job_is_gone(name):
            assert time.monotonic() < deadline, f"job {name} is still there"
            await asyncio.sleep(next(pause))

    async def wait_for_job(
        self, name: str, holds: Callable[[Object], bool], *, patience_s: float = PATIENCE_S
    ) -> Object:
        """Return the job once its status satisfies the condition.

        Raises:
            AssertionError: it did not within `patience_s`; the message shows the status.
        """
        deadline, pause = time.monotonic() + patience_s, poll_intervals()
        while True:
            status: Object = (await self.job(name)).get("status") or {}
            if holds(status):
                return status
            assert time.monotonic() < deadline, f"job {name} did not get there: {status}"
            await asyncio.sleep(next(pause))

    async def wait_for_phase(
        self, name: str, phase: str, *, patience_s: float = PATIENCE_S
    ) -> Object:
        """Return the job's status once it is in this phase."""
        return await self.wait_for_job(
            name, lambda status: status.get("phase") == phase, patience_s=patience_s
        )

    # --- pods ---------------------------------------------------------------------------------

    async def pods(self, job: str) -> list[Object]:
        """Return the pods of a job, ordered by attempt and rank."""
        selector = f"trainingjob.dev/job-name={job}"
        found, _ = await self.client.list(f"{self._core}/pods", label_selector=selector)
        return sorted(found, key=lambda pod: pod["metadata"]["name"])

    async def wait_for_pods(
        self, job: str, count: int, *, attempt: int | None = None, patience_s: float = PATIENCE_S
    ) -> list[Object]:
        """Return the pods of a job once there are this many (of this attempt)."""
        deadline, pause = time.monotonic() + patience_s, poll_intervals()
        while True:
            pods = await self.pods(job)
            if attempt is not None:
                label = str(attempt)
                pods = [
                    p for p in pods if p["metadata"]["labels"]["trainingjob.dev/attempt"] == label
                ]
            if len(pods) == count:
                return pods
            names = [pod["metadata"]["name"] for pod in pods]
            assert time.monotonic() < deadline, f"not {count} pods of {job}, but {names}"
            await asyncio.sleep(next(pause))

    async def bind_pod(self, pod: Object, node: str = "played-by-the-test") -> None:
        """Bind a pod to a node, as a scheduler does: a deleted pod then remains until its node has terminated it.

        There is no such node. A real control plane notices, and removes the pod, after 40 s.
        """
        name = pod["metadata"]["name"]
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        await self.client.create(f"{self._core}/pods/{name}/binding", binding | {"target": target})

    async def set_pod_status(self, pod: Object, status: Object) -> None:
        """Write a pod's status, as its kubelet would."""
        path = f"{self._core}/pods/{pod['metadata']['name']}/status"
        await self.client.patch(path, {"status": status})

    async def start_pod(self, pod: Object) -> None:
        """Set the pod's status to running and ready, as its kubelet would."""
        await self.set_pod_status(
            pod,
            {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    _container(pod, {"running": {"startedAt": _now()}}, ready=True)
                ],
            },
        )

    async def finish_pod(self, pod: Object, code: int = 0, message: str = "") -> None:
        """Set the pod's status to terminated with this exit code, as its kubelet would."""
        ended = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        if message:
            ended["message"] = message
        await self.set_pod_status(
            pod,
            {
                "phase": "Failed" if code else "Succeeded",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [_container(pod, {"terminated": ended}, ready=False)],
            },
        )

    async def finish_job(
        self, name: str, code: int = 0, *, patience_s: float = PATIENCE_S
    ) -> None:
        """Play the kubelet for a job of one pod, from the pod's creation to its termination."""
        [pod] = await self.wait_for_pods(name, 1, patience_s=patience_s)
        await self.start_pod(pod)
        await self.finish_pod(pod, code)

    async def delete_pod(self, pod: Object, *, grace_s: int | None = None) -> None:
        """Delete a pod as a user would."""
        path = f"{self._core}/pods/{pod['metadata']['name']}"
        await self.client.delete(path, grace_period_s=grace_s)

    async def events(self, job: str) -> list[Object]:
        """Return the Events about a job."""
        found, _ = await self.client.list(
            f"{self._core}/events", field_selector=f"involvedObject.name={job}"
        )
        return found


def condition(status: Object, kind: str) -> Object:
    """Return the condition of this type, or an empty one."""
    found: list[Object] = [c for c in status.get("conditions", []) if c["type"] == kind]
    return found[0] if found else {}


def _container(pod: Object, state: Object, *, ready: bool) -> Object:
    spec = pod["spec"]["containers"][0]
    return {
        "name": spec["name"],
        "image": spec["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
