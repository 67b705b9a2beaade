"""The node itself: it watches pods, gives each of its own a worker, and stops them all in order."""

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError, Changed, Listed
from trainingjob_sandbox.folders import claim, remove_tree
from trainingjob_sandbox.node.binder import Binder
from trainingjob_sandbox.node.containers import TERMINAL
from trainingjob_sandbox.node.host import Host, can_mount, machine_capacity
from trainingjob_sandbox.node.log_server import LogServer
from trainingjob_sandbox.node.mark import verify
from trainingjob_sandbox.node.names import TAINT, Object, refusal
from trainingjob_sandbox.node.pod_worker import PodWorker
from trainingjob_sandbox.node.registration import Registration
from trainingjob_sandbox.node.reporter import pod_path

_LOG: Final = logging.getLogger(__name__)
_LAST_WORD_S: Final = 3.0
"""Seconds that stopping may take beyond the pods' grace: the last statuses, the folders."""


class Node:
    """Runs pods that are bound to `name`. Start it, await `run`, then `stop`."""

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
        """Refusals and last deletes under way."""

    async def start(self, nonce: str) -> None:
        """Make sure that this cluster is ours, get ready, and register.

        Raises:
            MarkError: the cluster does not carry our nonce. Nothing has been touched then.
            RegistrationError: the node's name is taken.
            RootError: the folder is in other use.
            ApiError: the API server refused, or did not answer.
        """
        await verify(self._client, nonce)
        claim(self._root)
        # What an earlier node has left here has no processes any more.
        await asyncio.to_thread(remove_tree, self._root / "pods")
        self._host = Host(
            name=self._name,
            root=self._root,
            client=self._client,
            isolated=await can_mount(),
            path=self._path,
            capacity=machine_capacity(),
        )
        self._log_server = LogServer(self._host.log, self._tls)
        self._port = await self._log_server.start(self._port)
        self._registration = Registration(
            self._client, self._name, self._host.capacity, self._port, self._log_server.scheme
        )
        await self._registration.register()
        labels = {"kubernetes.io/hostname": self._name, TAINT: "true"}
        self._binder = Binder(
            self._client, self._name, self._host.capacity, labels, self._host.event
        )
        self._background = [asyncio.create_task(self._registration.keep_alive())]
        if self._bind:
            self._background.append(asyncio.create_task(self._binder.run()))
        _LOG.info("node %s is ready, logs on port %s", self._name, self._port)

    async def run(self) -> None:
        """Follow the pods until cancelled."""
        # Without a scheduler the unbound pods are ours to see; else only the bound ones are.
        mine = "" if self._bind else f"spec.nodeName={self._name}"
        async for news in self._client.watch("/api/v1/pods", field_selector=mine):
            match news:
                case Listed(items):
                    there = {pod["metadata"]["uid"] for pod in items}
                    for uid in [uid for uid in self._workers if uid not in there]:
                        self._vanished(uid)
                    for pod in items:
                        self._observe(pod)
                case Changed("DELETED", pod):
                    self._vanished(pod["metadata"]["uid"])
                case Changed(_, pod):
                    self._observe(pod)

    async def stop(self, grace_s: float) -> None:
        """End every pod's processes within its grace, at most `grace_s` seconds, and say so."""
        for task in [*self._background, *self._others]:
            task.cancel()
        await asyncio.gather(*self._background, *self._others, return_exceptions=True)
        tasks = [task for _, task in self._workers.values()]
        for worker, _ in self._workers.values():
            worker.shut_down(grace_s)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s + _LAST_WORD_S)
            # An API server that does not answer must not keep processes alive.
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await asyncio.wait_for(self._registration.report(ready=False), _LAST_WORD_S)
        except (ApiError, TimeoutError):
            _LOG.info("the API server is gone already")
        await self._log_server.stop()

    def kill(self) -> None:
        """Cut a stop short: everything is killed now."""
        for worker, _ in self._workers.values():
            worker.shut_down(0)

    def _observe(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if self._bind:
            self._binder.offer(pod)
        if (pod.get("spec") or {}).get("nodeName") != self._name:
            return
        known = self._workers.get(uid)
        if known is not None:
            known[0].observe(pod)
        elif why := refusal(pod):
            self._spawn(self._refuse(pod, why))
        elif (pod.get("status") or {}).get("phase") in TERMINAL:
            if "deletionTimestamp" in pod["metadata"]:
                self._spawn(self._delete(pod))
        else:
            self._take_on(pod)

    def _take_on(self, pod: Object) -> None:
        status, metadata = pod.get("status") or {}, pod["metadata"]
        began = any(c.get("containerID") for c in status.get("containerStatuses") or [])
        lost = began and (pod["spec"].get("restartPolicy") == "Never")
        worker = PodWorker(pod, self._host, lost=lost)
        uid = metadata["uid"]
        task = asyncio.create_task(worker.run(), name=f"pod-{metadata['name']}")
        self._workers[uid] = (worker, task)
        task.add_done_callback(lambda done: self._forget(uid, done))
        worker.observe(pod)

    def _vanished(self, uid: str) -> None:
        self._binder.forget(uid)
        if uid in self._workers:
            self._workers[uid][0].vanished()

    def _forget(self, uid: str, task: "asyncio.Task[None]") -> None:
        self._workers.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("pod %s", uid, exc_info=error)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _refuse(self, pod: Object, why: str) -> None:
        status = pod.get("status") or {}
        if "deletionTimestamp" in pod["metadata"]:
            await self._delete(pod)
            return
        if status.get("phase") in TERMINAL:
            return
        body = {
            "metadata": {"uid": pod["metadata"]["uid"]},
            "status": {"phase": "Failed", "reason": "NodeRefused", "message": why},
        }
        _LOG.warning("pod %s is refused: %s", pod["metadata"]["name"], why)
        try:
            await self._client.patch(f"{pod_path(pod)}/status", body)
        except ApiError as error:
            _LOG.warning("pod %s: %s", pod["metadata"]["name"], error)

    async def _delete(self, pod: Object) -> None:
        try:
            await self._client.delete(pod_path(pod), uid=pod["metadata"]["uid"], grace_period_s=0)
        except ApiError as error:
            _LOG.info("pod %s: %s", pod["metadata"]["name"], error)
