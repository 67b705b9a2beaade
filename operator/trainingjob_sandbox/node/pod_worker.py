"""The life of one pod on this node: from its first container to its removal.

One task per pod. Within it the init containers run one after the other, then all containers at
once; a sidecar (an init container that restarts always) is not waited for longer than until it
runs, and is stopped after all others (`sidecars`). Readiness, liveness and start-up probes and the
lifecycle hooks are not carried out: a container is ready while it runs.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from trainingjob_sandbox.client import ApiError
from trainingjob_sandbox.folders import remove_tree
from trainingjob_sandbox.node.container_runner import ContainerRunner, PodContext, Stop
from trainingjob_sandbox.node.containers import TERMINAL, Container, Ended, PodState
from trainingjob_sandbox.node.environment import Place
from trainingjob_sandbox.node.host import Host
from trainingjob_sandbox.node.host_names import is_on_host_network
from trainingjob_sandbox.node.names import LOOPBACK, Object
from trainingjob_sandbox.node.reporter import StatusReporter, pod_path
from trainingjob_sandbox.node.sidecars import Sidecars
from trainingjob_sandbox.node.volumes import Volumes

_LOG: Final = logging.getLogger(__name__)
_DEFAULT_GRACE_S: Final = 30.0
_DELETE_RETRY_S: Final = 1.0
_LOST_CODE: Final = 137


class PodWorker:
    """Runs one pod. `observe` what the API server says of it, `vanished` when it is not there.

    `lost` says that an earlier node began to run it: its processes went with that node.
    """

    def __init__(self, pod: Object, host: Host, *, lost: bool = False) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        self._pod = pod
        self._host = host
        self._lost = lost
        self._name, self._namespace = str(metadata["name"]), str(metadata["namespace"])
        self._uid = str(metadata["uid"])
        self._folder = host.root / "pods" / self._uid
        self._state = PodState(
            containers=[_container(c) for c in spec.get("containers") or []],
            init=[_container(c, init=True) for c in spec.get("initContainers") or []],
            policy=spec.get("restartPolicy") or "Always",
            started_at=datetime.now(UTC),
        )
        self._reporter = StatusReporter(host.client, pod, self._state.status)
        self._runners: list[ContainerRunner] = []
        self._stop = Stop()
        self._sidecars = Sidecars(self._stop)
        self._grace_seen_s = float("inf")
        self._leave = asyncio.Event()
        """Set when the pod need not be remembered: it is to be deleted, gone, or the node stops."""

        self._object_is_ours = True
        """True if this worker ends the deletion."""

    # --- what the node reports to it -----------------------------------------------------------------

    def observe(self, pod: Object) -> None:
        """The API server shows this version of the pod: a deletion may have been asked for."""
        metadata = pod["metadata"]
        if "deletionTimestamp" not in metadata:
            return
        grace_s = float(metadata.get("deletionGracePeriodSeconds") or 0)
        # Every update repeats the grace; only the first one, and a shorter one, starts a clock.
        if grace_s < self._grace_seen_s:
            self._grace_seen_s = grace_s
            self._stop_containers(grace_s)
        self._leave.set()

    def vanished(self) -> None:
        """The pod is not there any more, so its containers end at once."""
        self._object_is_ours = False
        self._leave.set()
        self._stop_containers(0)

    def shut_down(self, grace_s: float) -> None:
        """The node stops: end the processes and say so, but leave the object where it is."""
        self._object_is_ours = False
        if not self._stop.asked.is_set() and self._state.phase() not in TERMINAL:
            message = "Pod was terminated in response to imminent node shutdown."
            self._state.reason, self._state.message = "Terminated", message
            self._state.disruption = ("TerminationByKubelet", message)
        self._leave.set()
        self._stop_containers(min(grace_s, self._grace_s))

    # --- its life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until the pod need not be remembered; then nothing of it is left."""
        reporting = asyncio.create_task(self._reporter.run(), name=f"report-{self._name}")
        deadline = asyncio.create_task(self._deadline(), name=f"deadline-{self._name}")
        try:
            await self._run_containers()
            deadline.cancel()
            await self._reporter.flush()
            await self._leave.wait()
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
        except Exception as error:  # noqa: BLE001 - a bug must show in the pod, not hang it
            _LOG.exception("pod %s/%s", self._namespace, self._name)
            self._stop_containers(0)
            self._state.reason, self._state.message = "NodeError", str(error)
        self._reporter.mark()

    async def _run_in_order(self) -> None:
        context = self._take_place()
        note = asyncio.create_task(self._say_what_is_not_pulled())
        spec, state = self._pod["spec"], self._state
        try:
            if state.init:
                for container in state.containers:
                    container.waiting = ("PodInitializing", "")
            for raw, container in zip(spec.get("initContainers") or [], state.init, strict=True):
                if container.sidecar:
                    own = replace(context, stop=Stop())
                    await self._sidecars.start(self._runner(own, raw, container), own.stop)
                else:
                    await self._runner(context, raw, container).run()
                if not container.initialized:
                    return
            async with asyncio.TaskGroup() as group:
                for raw, container in zip(spec["containers"], state.containers, strict=True):
                    group.create_task(self._runner(context, raw, container).run())
        finally:
            await self._sidecars.end(self._grace_s)
            await note

    def _take_place(self) -> PodContext:
        held = self._host.addresses.hold(self._namespace, self._name, self._uid)
        ip = LOOPBACK if is_on_host_network(self._pod) else held
        self._state.ip = ip
        place = Place(
            node=self._host.name, pod_ip=ip, host_ip=LOOPBACK, capacity=self._host.capacity
        )
        return PodContext(
            pod=self._pod,
            host=self._host,
            folder=self._folder,
            place=place,
            volumes=Volumes(self._pod, self._host.root, self._folder, place),
            stop=self._stop,
            changed=self._reporter.mark,
        )

    def _runner(self, context: PodContext, raw: Object, container: Container) -> ContainerRunner:
        runner = ContainerRunner(context, raw, container)
        self._runners.append(runner)
        return runner

    async def _say_what_is_not_pulled(self) -> None:
        images = sorted({c.image for c in [*self._state.init, *self._state.containers]})
        await self._host.event(
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
                message="the node was started again; the container went with the one before",
                started_at=None,
                finished_at=datetime.now(UTC),
                container_id="",
            )

    # --- its end --------------------------------------------------------------------------------

    @property
    def _grace_s(self) -> float:
        grace = self._pod["spec"].get("terminationGracePeriodSeconds")
        return _DEFAULT_GRACE_S if grace is None else float(grace)

    def _stop_containers(self, grace_s: float) -> None:
        self._state.stopping = True
        self._stop.ask(grace_s)
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
        """The last word of a graceful deletion is the node's: nothing runs any more."""
        path = pod_path(self._pod)
        while self._object_is_ours and not self._reporter.gone.is_set():
            try:
                await self._host.client.delete(path, uid=self._uid, grace_period_s=0)
            except ApiError as error:
                if not error.permanent:
                    await asyncio.sleep(_DELETE_RETRY_S)
                    continue
            return

    async def _clean_up(self) -> None:
        for runner in self._runners:
            await runner.forget()
        self._host.addresses.release(self._namespace, self._name, self._uid)
        await asyncio.to_thread(remove_tree, self._folder)


def _container(raw: Object, *, init: bool = False) -> Container:
    return Container(
        name=str(raw["name"]),
        image=str(raw.get("image") or ""),
        init=init,
        sidecar=init and raw.get("restartPolicy") == "Always",
    )
