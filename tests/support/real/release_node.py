"""Simulates a kubelet for one namespace: it runs and terminates the pods of the release there.

A control plane without nodes admits the chart's pods and no more. Here they run, as processes
(`played_pod`), so that Helm waits for what it would wait for on a cluster.
"""

import asyncio
import contextlib
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from hack.cluster.control_plane import ControlPlane
from hack.ports import free_port
from tests.support.real.process_pod import ProcessPod, Site
from trainingjob_sandbox.client import ApiClient, ApiError

Object = dict[str, Any]

_LOOK_S = 0.1
_SURVEY_S = 1.0
"""It looks at Secrets, Services and claims so often, and whenever a pod has changed."""
_BEAT_S = 10.0
_SERVED_PORT = 8090
"""The record service's, which its Service leads to."""
_STARTED = "2026-01-01T00:00:00Z"


class ReleaseNode:
    """The node, which runs in its own thread until the context ends."""

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        folder: Path,
        trees: Mapping[str, Path] | None = None,
    ) -> None:
        ports = {_SERVED_PORT: free_port()}
        self._site = Site(plane, namespace, folder, ports=ports, trees=trees or {})
        self._name = f"node-{uuid4().hex[:8]}"
        self._base = f"/api/v1/namespaces/{namespace}"
        self._pods: dict[str, ProcessPod] = {}
        self._ended: set[str] = set()
        self._volumes: set[str] = set()
        self._versions: dict[str, str] = {}
        self._next_survey = 0.0
        self._next_beat = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is None:
            return
        if error is None:
            raise AssertionError("the node has failed") from self._error
        error.add_note(f"the node had failed: {''.join(traceback.format_exception(self._error))}")

    def address(self, port: int) -> str:
        """Return the local address of a container's port."""
        return f"http://127.0.0.1:{self._site.ports[port]}"

    def claim(self, name: str) -> Path:
        """Return the folder of a claim."""
        return self._site.folder / "claims" / name

    def log(self, prefix: str) -> str:
        """Return the output of the pods with such a name."""
        return "".join(
            path.read_text() for path in sorted(self._site.folder.glob(f"pods/{prefix}*/*.log"))
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told when the block ends
            self._error = error
        finally:
            for played in self._pods.values():
                played.stop()

    async def _serve(self) -> None:
        async with ApiClient.from_kubeconfig(self._site.plane.kubeconfig) as client:
            await self._register(client)
            try:
                while not self._stop.is_set():
                    await self._beat(client)
                    await self._look(client)
                    await asyncio.sleep(_LOOK_S)
            finally:
                await client.delete(f"/api/v1/nodes/{self._name}")
                for uid in self._volumes:
                    await client.delete(f"/api/v1/persistentvolumes/pv-{uid}")

    async def _register(self, client: ApiClient) -> None:
        # Unschedulable, since it runs only pods of this namespace.
        node = {"metadata": {"name": self._name}, "spec": {"unschedulable": True}}
        await client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **node})

    async def _beat(self, client: ApiClient) -> None:
        """Renew the node's heartbeat; without it, the control plane marks its pods not ready."""
        if time.monotonic() < self._next_beat:
            return
        self._next_beat = time.monotonic() + _BEAT_S
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        path = f"/api/v1/nodes/{self._name}/status"
        await client.patch(path, {"status": {"conditions": [ready | {"lastHeartbeatTime": now}]}})

    async def _look(self, client: ApiClient) -> None:
        pods, _ = await client.list(f"{self._base}/pods")
        versions = {pod["metadata"]["uid"]: pod["metadata"]["resourceVersion"] for pod in pods}
        if versions != self._versions or time.monotonic() >= self._next_survey:
            # After the list: the objects that a pod needs were created before the pod.
            await self._survey(client)
            self._versions = versions
        seen = {pod["metadata"]["uid"]: pod for pod in pods}
        for uid, pod in seen.items():
            with contextlib.suppress(ApiError):  # it was deleted or changed: the next poll sees it
                await self._tend(client, uid, pod)
        for uid in self._pods.keys() - seen.keys():
            await self._end(uid)

    async def _survey(self, client: ApiClient) -> None:
        """Read the Secrets, Services and claims that the pods use."""
        self._next_survey = time.monotonic() + _SURVEY_S
        # Not Helm's own Secrets, which contain whole releases.
        secrets, _ = await client.list(f"{self._base}/secrets", field_selector="type=Opaque")
        self._site.secrets = {each["metadata"]["name"]: each.get("data") or {} for each in secrets}
        services, _ = await client.list(f"{self._base}/services")
        self._site.services = frozenset(each["metadata"]["name"] for each in services)
        claims, _ = await client.list(f"{self._base}/persistentvolumeclaims")
        for claim in claims:
            await self._provide(client, claim)

    async def _provide(self, client: ApiClient, claim: Object) -> None:
        """Provision a volume for a claim, as a storage class would."""
        uid = claim["metadata"]["uid"]
        if uid in self._volumes or claim["spec"].get("volumeName"):
            return
        self._volumes.add(uid)
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": self._site.namespace,
            "name": claim["metadata"]["name"],
            "uid": uid,
        }
        spec = {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "claimRef": reference,
            "hostPath": {"path": str(self.claim(reference["name"]))},
        }
        body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"pv-{uid}"}}
        await client.create("/api/v1/persistentvolumes", body | {"spec": spec})

    async def _tend(self, client: ApiClient, uid: str, pod: Object) -> None:
        path = f"{self._base}/pods/{pod['metadata']['name']}"
        if pod["metadata"].get("deletionTimestamp"):
            await self._end(uid)
            await client.delete(path, uid=uid, grace_period_s=0)
        elif not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": self._name}
            await client.create(
                f"{path}/binding",
                {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": pod["metadata"]["name"]},
                    "target": target,
                },
            )
        elif uid not in self._ended:
            if uid not in self._pods:
                self._pods[uid] = ProcessPod(self._site, pod)
            played = self._pods[uid]
            await self._report(client, path, pod, await asyncio.to_thread(played.step))
            if pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
                await self._end(uid)

    async def _end(self, uid: str) -> None:
        self._ended.add(uid)
        if (played := self._pods.pop(uid, None)) is not None:
            await asyncio.to_thread(played.stop)
            played.forget()

    async def _report(self, client: ApiClient, path: str, pod: Object, phase: str | None) -> None:
        if phase is None or pod.get("status", {}).get("phase") == phase:
            return
        ready = "True" if phase == "Running" else "False"
        state: Object = {"running": {"startedAt": _STARTED}}
        if phase != "Running":
            code = 0 if phase == "Succeeded" else 1
            ended = {"exitCode": code, "startedAt": _STARTED, "finishedAt": _STARTED}
            state = {"terminated": ended}
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": "",
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        conditions = [{"type": kind, "status": ready} for kind in ("Ready", "ContainersReady")]
        status = {"phase": phase, "conditions": conditions, "containerStatuses": [container]}
        await client.patch(f"{path}/status", {"status": status})
