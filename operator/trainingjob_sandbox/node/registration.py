"""Registers the Node object, and keeps it ready with heartbeats: its Lease and its status."""

import asyncio
import logging
import platform
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.cluster_nonce import ensure_namespace
from trainingjob_sandbox.node.constants import ANNOTATION_KUBELET_SCHEME, LOOPBACK, TAINT, Object
from trainingjob_sandbox.node.containers import timestamp

_LOG: Final = logging.getLogger(__name__)
_LEASES: Final = "kube-node-lease"
_LEASE_S: Final = 40
_RENEW_S: Final = 10.0
_STATUS_EVERY: Final = 6
"""Lease renewals per write of the node's status."""

_ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64"}


class RegistrationError(Exception):
    """A node of this name exists, and it is not a sandbox's."""


class Registration:
    """Creates one Node object and sends its heartbeats."""

    def __init__(
        self, client: ApiClient, name: str, capacity: Mapping[str, str], port: int, scheme: str
    ) -> None:
        self._client = client
        self._name = name
        self._capacity = dict(capacity)
        self._port = port
        self._scheme = scheme
        self._ready_since: dict[str, str | None] = {}

    async def register(self) -> None:
        """Create the Node and its Lease, and report ready.

        Raises:
            RegistrationError: the name belongs to another node.
            ApiError: the API server refused, or did not answer.
        """
        node = self._node()
        try:
            await self._client.create("/api/v1/nodes", node)
        except ApiError as error:
            if not error.conflict:
                raise
            there = await self._client.get(self._path)
            if TAINT not in (there["metadata"].get("labels") or {}):
                raise RegistrationError(f"a node {self._name} already exists") from error
            await self._client.patch(
                self._path, {"metadata": node["metadata"], "spec": node["spec"]}
            )
        await ensure_namespace(self._client, _LEASES)
        await self._renew()
        await self.report(ready=True)

    async def keep_alive(self) -> None:
        """Send heartbeats until cancelled. A failed one is only logged: the next one follows soon."""
        beats = 0
        while True:
            await asyncio.sleep(_RENEW_S)
            beats += 1
            try:
                await self._renew()
                if beats % _STATUS_EVERY == 0:
                    await self.report(ready=True)
            except ApiError as error:
                _LOG.warning("heartbeat: %s", error)

    async def report(self, *, ready: bool) -> None:
        """Write the node's status.

        Raises:
            ApiError: the API server refused, or did not answer.
        """
        await self._client.patch(f"{self._path}/status", {"status": self._status(ready=ready)})

    @property
    def _path(self) -> str:
        return f"/api/v1/nodes/{self._name}"

    def _node(self) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self._name,
                "labels": {
                    "kubernetes.io/hostname": self._name,
                    "kubernetes.io/os": platform.system().lower(),
                    "kubernetes.io/arch": _architecture(),
                    TAINT: "true",
                },
                "annotations": {ANNOTATION_KUBELET_SCHEME: self._scheme},
            },
            "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
        }

    def _status(self, *, ready: bool) -> Object:
        return {
            "capacity": self._capacity,
            "allocatable": self._capacity,
            "conditions": [
                self._condition("Ready", status=ready, reason="SandboxReady"),
                self._condition("MemoryPressure", status=False, reason="NotMeasured"),
                self._condition("DiskPressure", status=False, reason="NotMeasured"),
                self._condition("PIDPressure", status=False, reason="NotMeasured"),
            ],
            "addresses": [
                {"type": "InternalIP", "address": LOOPBACK},
                {"type": "Hostname", "address": self._name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": platform.release(),
                "osImage": platform.platform(),
                "containerRuntimeVersion": "process://1",
                "kubeletVersion": "trainingjob-sandbox",
                "kubeProxyVersion": "",
                "operatingSystem": platform.system().lower(),
                "architecture": _architecture(),
            },
        }

    def _condition(self, kind: str, *, status: bool, reason: str) -> Object:
        word = "True" if status else "False"
        now = timestamp(datetime.now(UTC))
        since = self._ready_since.setdefault(f"{kind}={word}", now)
        return {
            "type": kind,
            "status": word,
            "reason": reason if status or kind != "Ready" else "SandboxStopped",
            "message": "pods run as processes of this machine",
            "lastHeartbeatTime": now,
            "lastTransitionTime": since,
        }

    async def _renew(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": _LEASE_S,
            "renewTime": now,
        }
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{_LEASES}/leases"
        try:
            await self._client.patch(f"{leases}/{self._name}", {"spec": spec})
        except ApiError as error:
            if not error.not_found:
                raise
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": _LEASES},
                "spec": spec,
            }
            await self._client.create(leases, lease)


def default_name() -> str:
    """Return a node name that is a valid DNS label, derived from the machine's host name."""
    host = socket.gethostname().partition(".")[0].lower()
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in host).strip("-")
    return f"sandbox-{kept[:40]}".rstrip("-")


def _architecture() -> str:
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)
