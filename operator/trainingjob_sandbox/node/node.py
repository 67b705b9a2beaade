"""Runs the node: watches pods, starts a worker for each pod bound to it, and stops all workers at the end."""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError, Changed, Listed
from trainingjob_sandbox.folders import claim, remove_tree
from trainingjob_sandbox.node.binder import Binder, rejection_reason
from trainingjob_sandbox.node.cluster_nonce import verify_nonce
from trainingjob_sandbox.node.constants import TAINT, Object
from trainingjob_sandbox.node.containers import TERMINAL
from trainingjob_sandbox.node.log_server import LogServer
from trainingjob_sandbox.node.node_context import NodeContext, can_mount, machine_capacity
from trainingjob_sandbox.node.pod_worker import PodWorker
from trainingjob_sandbox.node.registration import Registration
from trainingjob_sandbox.node.reporter import pod_path

_LOG: Final = logging.getLogger(__name__)
_STOP_MARGIN_S: Final = 3.0
"""Seconds to stop beyond the pods' grace period, for the last status writes and removing folders."""


class Node:
    """Runs the pods that are bound to `name`. Call `start`, then `run`, then `stop`."""

    def __init__(
        self,
        client: ApiClient,
        *,
        name: str,
        root: Path,
        path: str,
        bind: bool,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._root = root
        self._path = path
        self._bind = bind
        self._port = port
        self._tls = tls
        self._workers: dict[str, tuple[PodWorker, asyncio.Task[None]]] = {}
        self._background: list[asyncio.Task[None]] = []
        self._others: set[asyncio.Task[None]] = set()
        """Running rejections and deletions of pods that have no worker."""

    async def start(self, nonce: str) -> None:
        """Verify the cluster's nonce, prepare the node, and register it.

        Raises:
            NonceError: the cluster does not have our nonce. Nothing was changed.
            RegistrationError: the node's name is taken.
            RootError: the folder is not a sandbox's.
            ApiError: the API server refused, or did not answer.
        """
        await verify_nonce(self._client, nonce)
        claim(self._root)
        # Folders of an earlier node: its processes have ended.
        await asyncio.to_thread(remove_tree, self._root / "pods")
        self._context = NodeContext(
            name=self._name,
            root=self._root,
            client=self._client,
            isolated=await can_mount(),
            path=self._path,
            capacity=machine_capacity(),
        )
        self._log_server = LogServer(self._context.find_log, self._tls)
        self._port = await self._log_server.start(self._port)
        self._registration = Registration(
            self._client, self._name, self._context.capacity, self._port, self._log_server.scheme
        )
        await self._registration.register()
        labels = {"kubernetes.io/hostname": self._name, TAINT: "true"}
        self._binder = Binder(
            self._client, self._name, self._context.capacity, labels, self._context.create_event
        )
        self._background = [asyncio.create_task(self._registration.keep_alive())]
        if self._bind:
            self._background.append(asyncio.create_task(self._binder.run()))
        _LOG.info("node %s is ready, logs on port %s", self._name, self._port)

    async def run(self) -> None:
        """Watch the pods until cancelled."""
        # As the scheduler it must see unbound pods, too; else only the pods bound to it.
        field_selector = "" if self._bind else f"spec.nodeName={self._name}"
        async for event in self._client.watch("/api/v1/pods", field_selector=field_selector):
            match event:
                case Listed(items):
                    listed = {pod["metadata"]["uid"] for pod in items}
                    for uid in [uid for uid in self._workers if uid not in listed]:
                        self._pod_deleted(uid)
                    for pod in items:
                        self._observe(pod)
                case Changed("DELETED", pod):
                    self._pod_deleted(pod["metadata"]["uid"])
                case Changed(_, pod):
                    self._observe(pod)

    async def stop(self, grace_s: float) -> None:
        """Stop every pod within its grace period, at most `grace_s` seconds, and report its status."""
        for task in [*self._background, *self._others]:
            task.cancel()
        await asyncio.gather(*self._background, *self._others, return_exceptions=True)
        tasks = [task for _, task in self._workers.values()]
        for worker, _ in self._workers.values():
            worker.shut_down(grace_s)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s + _STOP_MARGIN_S)
            # Processes must end even if the API server does not answer.
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await asyncio.wait_for(self._registration.report(ready=False), _STOP_MARGIN_S)
        except (ApiError, TimeoutError):
            _LOG.info("the API server has already stopped")
        await self._log_server.stop()

    def kill(self) -> None:
        """Kill all processes now, without their grace period."""
        for worker, _ in self._workers.values():
            worker.shut_down(0)

    def _observe(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if self._bind:
            self._binder.observe(pod)
        if (pod.get("spec") or {}).get("nodeName") != self._name:
            return
        known = self._workers.get(uid)
        if known is not None:
            known[0].observe(pod)
        elif reason := rejection_reason(pod):
            self._spawn(self._reject(pod, reason))
        elif (pod.get("status") or {}).get("phase") in TERMINAL:
            if "deletionTimestamp" in pod["metadata"]:
                self._spawn(self._delete(pod))
        else:
            self._start_worker(pod)

    def _start_worker(self, pod: Object) -> None:
        status, metadata = pod.get("status") or {}, pod["metadata"]
        began = any(c.get("containerID") for c in status.get("containerStatuses") or [])
        lost = began and (pod["spec"].get("restartPolicy") == "Never")
        worker = PodWorker(pod, self._context, lost=lost)
        uid = metadata["uid"]
        task = asyncio.create_task(worker.run(), name=f"pod-{metadata['name']}")
        self._workers[uid] = (worker, task)
        task.add_done_callback(lambda done: self._forget(uid, done))
        worker.observe(pod)

    def _pod_deleted(self, uid: str) -> None:
        self._binder.forget(uid)
        if uid in self._workers:
            self._workers[uid][0].pod_deleted()

    def _forget(self, uid: str, task: "asyncio.Task[None]") -> None:
        self._workers.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("pod %s", uid, exc_info=error)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _reject(self, pod: Object, reason: str) -> None:
        status = pod.get("status") or {}
        if "deletionTimestamp" in pod["metadata"]:
            await self._delete(pod)
            return
        if status.get("phase") in TERMINAL:
            return
        body = {
            "metadata": {"uid": pod["metadata"]["uid"]},
            "status": {"phase": "Failed", "reason": "NodeRefused", "message": reason},
        }
        _LOG.warning("pod %s is rejected: %s", pod["metadata"]["name"], reason)
        try:
            await self._client.patch(f"{pod_path(pod)}/status", body)
        except ApiError as error:
            _LOG.warning("pod %s: %s", pod["metadata"]["name"], error)

    async def _delete(self, pod: Object) -> None:
        try:
            await self._client.delete(pod_path(pod), uid=pod["metadata"]["uid"], grace_period_s=0)
        except ApiError as error:
            _LOG.info("pod %s: %s", pod["metadata"]["name"], error)
