"""Runs one pod on this node, from its first container to the deletion of the pod object.

One task per pod. It runs the init containers one after the other, then all containers at once. A
sidecar (an init container with `restartPolicy: Always`) only has to start before the next container
starts, and is stopped after all others (`sidecars`). Probes and lifecycle hooks are not run: a
container is ready while it runs.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from trainingjob_sandbox.client import ApiError
from trainingjob_sandbox.folders import remove_tree
from trainingjob_sandbox.node.constants import LOOPBACK, Object
from trainingjob_sandbox.node.container_runner import ContainerRunner, PodContext, StopRequest
from trainingjob_sandbox.node.containers import TERMINAL, Container, Ended, PodState
from trainingjob_sandbox.node.environment import PodPlacement
from trainingjob_sandbox.node.host_names import is_on_host_network
from trainingjob_sandbox.node.node_context import NodeContext
from trainingjob_sandbox.node.reporter import StatusReporter, pod_path
from trainingjob_sandbox.node.sidecars import Sidecars
from trainingjob_sandbox.node.volumes import Volumes

_LOG: Final = logging.getLogger(__name__)
_DEFAULT_GRACE_S: Final = 30.0
_DELETE_RETRY_S: Final = 1.0
_LOST_CODE: Final = 137


class PodWorker:
    """Runs one pod. Call `observe` for each change of the pod, and `pod_deleted` after its deletion.

    `lost` is True if an earlier node process started the pod: its containers ended with that node.
    """

    def __init__(self, pod: Object, node: NodeContext, *, lost: bool = False) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        self._pod = pod
        self._node = node
        self._lost = lost
        self._name, self._namespace = str(metadata["name"]), str(metadata["namespace"])
        self._uid = str(metadata["uid"])
        self._folder = node.root / "pods" / self._uid
        self._state = PodState(
            containers=[_container(c) for c in spec.get("containers") or []],
            init=[_container(c, init=True) for c in spec.get("initContainers") or []],
            policy=spec.get("restartPolicy") or "Always",
            started_at=datetime.now(UTC),
        )
        self._reporter = StatusReporter(node.client, pod, self._state.status)
        self._runners: list[ContainerRunner] = []
        self._stop = StopRequest()
        self._sidecars = Sidecars(self._stop)
        self._grace_seen_s = float("inf")
        self._may_exit = asyncio.Event()
        """Set when the worker may exit: the pod is being deleted or deleted, or the node stops."""

        self._deletes_object = True
        """True if this worker has to complete the deletion of the pod object."""

    # --- events from the node ------------------------------------------------------------------------

    def observe(self, pod: Object) -> None:
        """Handle a new version of the pod: stop the containers if its deletion was requested."""
        metadata = pod["metadata"]
        if "deletionTimestamp" not in metadata:
            return
        grace_s = float(metadata.get("deletionGracePeriodSeconds") or 0)
        # Every update repeats the grace period; only the first, or a shorter one, starts a timer.
        if grace_s < self._grace_seen_s:
            self._grace_seen_s = grace_s
            self._stop_containers(grace_s)
        self._may_exit.set()

    def pod_deleted(self) -> None:
        """Kill the containers, because the pod object was deleted."""
        self._deletes_object = False
        self._may_exit.set()
        self._stop_containers(0)

    def shut_down(self, grace_s: float) -> None:
        """Stop the containers because the node stops; report that, and do not delete the pod object."""
        self._deletes_object = False
        if not self._stop.requested.is_set() and self._state.phase() not in TERMINAL:
            message = "Pod was terminated in response to imminent node shutdown."
            self._state.reason, self._state.message = "Terminated", message
            self._state.disruption = ("TerminationByKubelet", message)
        self._may_exit.set()
        self._stop_containers(min(grace_s, self._grace_s))

    # --- running ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the pod until it is deleted or the node stops; then remove its processes and files."""
        reporting = asyncio.create_task(self._reporter.run(), name=f"report-{self._name}")
        deadline = asyncio.create_task(self._deadline(), name=f"deadline-{self._name}")
        try:
            await self._run_containers()
            deadline.cancel()
            await self._reporter.flush()
            await self._may_exit.wait()
            await self._remove_object()
        finally:
            for task in (reporting, deadline):
                task.cancel()
            await asyncio.gather(reporting, deadline, return_exceptions=True)
            await self._clean_up()

    async def _run_containers(self) -> None:
        try:
            if self._lost:
                self._mark_lost()
            else:
                await self._run_in_order()
        except Exception as error:  # noqa: BLE001 - report a bug in the pod's status, do not hang it
            _LOG.exception("pod %s/%s", self._namespace, self._name)
            self._stop_containers(0)
            self._state.reason, self._state.message = "NodeError", str(error)
        self._reporter.mark_changed()

    async def _run_in_order(self) -> None:
        context = self._create_context()
        event = asyncio.create_task(self._report_images_not_pulled())
        spec, state = self._pod["spec"], self._state
        try:
            if state.init:
                for container in state.containers:
                    container.waiting = ("PodInitializing", "")
            for raw, container in zip(spec.get("initContainers") or [], state.init, strict=True):
                if container.sidecar:
                    own = replace(context, stop=StopRequest())
                    await self._sidecars.start(self._runner(own, raw, container), own.stop)
                else:
                    await self._runner(context, raw, container).run()
                if not container.initialized:
                    return
            async with asyncio.TaskGroup() as group:
                for raw, container in zip(spec["containers"], state.containers, strict=True):
                    group.create_task(self._runner(context, raw, container).run())
        finally:
            await self._sidecars.stop_in_reverse_order(self._grace_s)
            await event

    def _create_context(self) -> PodContext:
        address = self._node.addresses.acquire(self._namespace, self._name, self._uid)
        ip = LOOPBACK if is_on_host_network(self._pod) else address
        self._state.ip = ip
        placement = PodPlacement(
            node=self._node.name, pod_ip=ip, host_ip=LOOPBACK, capacity=self._node.capacity
        )
        return PodContext(
            pod=self._pod,
            node=self._node,
            folder=self._folder,
            placement=placement,
            volumes=Volumes(self._pod, self._node.root, self._folder, placement),
            stop=self._stop,
            changed=self._reporter.mark_changed,
        )

    def _runner(self, context: PodContext, raw: Object, container: Container) -> ContainerRunner:
        runner = ContainerRunner(context, raw, container)
        self._runners.append(runner)
        return runner

    async def _report_images_not_pulled(self) -> None:
        images = sorted({c.image for c in [*self._state.init, *self._state.containers]})
        await self._node.create_event(
            self._pod,
            "ImageNotPulled",
            f"image {', '.join(images)} is not pulled: the sandbox runs commands with this "
            "machine's programs",
        )

    def _mark_lost(self) -> None:
        for container in [*self._state.init, *self._state.containers]:
            container.waiting = None
            container.ended = Ended(
                exit_code=_LOST_CODE,
                reason="ContainerStatusUnknown",
                message="the node was restarted, and the container ended with the previous node",
                started_at=None,
                finished_at=datetime.now(UTC),
                container_id="",
            )

    # --- stopping --------------------------------------------------------------------------------

    @property
    def _grace_s(self) -> float:
        grace = self._pod["spec"].get("terminationGracePeriodSeconds")
        return _DEFAULT_GRACE_S if grace is None else float(grace)

    def _stop_containers(self, grace_s: float) -> None:
        self._state.stopping = True
        self._stop.request(grace_s)
        for runner in self._runners:
            if runner not in self._sidecars:
                runner.stop(grace_s)
        self._sidecars.stop(grace_s)

    async def _deadline(self) -> None:
        seconds = self._pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return
        await asyncio.sleep(float(seconds))
        self._state.reason = "DeadlineExceeded"
        self._state.message = "Pod was active on the node longer than the specified deadline"
        self._stop_containers(self._grace_s)

    async def _remove_object(self) -> None:
        """Complete the graceful deletion of the pod, now that nothing runs, as a kubelet does."""
        path = pod_path(self._pod)
        while self._deletes_object and not self._reporter.deleted.is_set():
            try:
                await self._node.client.delete(path, uid=self._uid, grace_period_s=0)
            except ApiError as error:
                if not error.permanent:
                    await asyncio.sleep(_DELETE_RETRY_S)
                    continue
            return

    async def _clean_up(self) -> None:
        for runner in self._runners:
            await runner.forget()
        self._node.addresses.release(self._namespace, self._name, self._uid)
        await asyncio.to_thread(remove_tree, self._folder)


def _container(raw: Object, *, init: bool = False) -> Container:
    return Container(
        name=str(raw["name"]),
        image=str(raw.get("image") or ""),
        init=init,
        sidecar=init and raw.get("restartPolicy") == "Always",
    )
