"""The life of one pod on this node: from its first container to its removal.

One task per pod. Within it the init containers run one after the other, then all containers at
once. Nothing is cancelled to stop a pod: a stop is announced, processes end, loops see it.

Readiness, liveness and start-up probes and the lifecycle hooks are not carried out: a container is
ready while it runs. Sidecars (init containers that restart always) are refused.
"""

import asyncio
import contextlib
import logging
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiError
from trainingjob_sandbox.node.containers import Container, Ended, PodState
from trainingjob_sandbox.node.environment import ConfigError, Place
from trainingjob_sandbox.node.host import Host
from trainingjob_sandbox.node.launch import LaunchError, Workspace, base_variables, build_launch
from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.names import LOOPBACK, Object
from trainingjob_sandbox.node.process import ContainerProcess, Exit
from trainingjob_sandbox.node.reporter import StatusReporter, pod_path
from trainingjob_sandbox.node.supervisor import START_ERROR_CODE, Launch
from trainingjob_sandbox.node.termination import termination_message
from trainingjob_sandbox.node.volumes import VolumeError, Volumes

_LOG: Final = logging.getLogger(__name__)
_DEFAULT_GRACE_S: Final = 30.0
_CONFIG_RETRY_S: Final = (0.5, 10.0)
_CRASH_BACKOFF_S: Final = (10.0, 300.0)
_HEALTHY_RUN_S: Final = 600.0
"""A container that ran this long starts its back-off anew, as a kubelet's does."""

_DELETE_RETRY_S: Final = 1.0
_LOST_CODE: Final = 137


class PodWorker:
    """Runs one pod. `observe` what the API server says of it, `vanished` when it is not there."""

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
        self._place = Place(node=host.name, pod_ip="", host_ip=LOOPBACK, capacity=host.capacity)
        self._volumes: Volumes | None = None
        self._processes: set[ContainerProcess] = set()
        self._stopping = asyncio.Event()
        self._stop_at = float("inf")
        self._leave = asyncio.Event()
        """Set when the pod need not be remembered: deleted, gone, or the node stops."""

        self._forget_only = False
        self._grace_seen = float("inf")

    # --- what the node tells it -----------------------------------------------------------------

    def observe(self, pod: Object) -> None:
        """The API server shows this version of the pod: a deletion may have been asked for."""
        metadata = pod["metadata"]
        if "deletionTimestamp" not in metadata:
            return
        grace_s = float(metadata.get("deletionGracePeriodSeconds") or 0)
        # Every update repeats the grace; only the first one, and a shorter one, starts a clock.
        if grace_s < self._grace_seen:
            self._grace_seen = grace_s
            self._stop(grace_s)
        self._leave.set()

    def vanished(self) -> None:
        """The pod is not there any more: nobody waits for it, so it ends at once."""
        self._forget_only = True
        self._leave.set()
        self._stop(0)

    def shut_down(self, grace_s: float) -> None:
        """The node stops: end the processes and say so, but leave the object alone."""
        self._forget_only = True
        if not self._stopping.is_set() and self._state.phase() not in {"Succeeded", "Failed"}:
            message = "Pod was terminated in response to imminent node shutdown."
            self._state.reason, self._state.message = "Terminated", message
            self._state.disruption = ("TerminationByKubelet", message)
        self._leave.set()
        self._stop(min(grace_s, self._grace_s))

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
            if not self._forget_only:
                await self._remove()
        finally:
            for task in (reporting, deadline):
                task.cancel()
            await asyncio.gather(reporting, deadline, return_exceptions=True)
            await self._clean_up()

    async def _run_containers(self) -> None:
        try:
            if self._lost:
                self._mark_lost()
            elif refused := _unsupported(self._pod["spec"]):
                self._state.reason, self._state.message = "NotSupported", refused
            else:
                await self._run_in_order()
        except Exception as error:  # noqa: BLE001 - a bug must show in the pod, not hang it
            _LOG.exception("pod %s/%s", self._namespace, self._name)
            self._stop(0)
            self._state.reason, self._state.message = "NodeError", str(error)
        self._reporter.mark()

    async def _run_in_order(self) -> None:
        spec = self._pod["spec"]
        ip = self._host.addresses.hold(self._namespace, self._name, self._uid)
        self._state.ip = ip
        self._place = Place(
            node=self._host.name, pod_ip=ip, host_ip=LOOPBACK, capacity=self._host.capacity
        )
        self._volumes = Volumes(self._pod, self._host.root, self._folder, self._place)
        images = sorted({c.image for c in [*self._state.init, *self._state.containers]})
        note = asyncio.create_task(
            self._host.event(
                self._pod,
                "ImageNotPulled",
                f"image {', '.join(images)} is not pulled: the sandbox runs commands with this "
                "machine's programs",
            )
        )
        try:
            for container in self._state.containers if self._state.init else []:
                container.waiting = ("PodInitializing", "")
            for container, raw in zip(
                self._state.init, spec.get("initContainers") or [], strict=True
            ):
                await self._run_container(container, raw)
                if not container.succeeded:
                    return
            async with asyncio.TaskGroup() as group:
                for container, raw in zip(self._state.containers, spec["containers"], strict=True):
                    group.create_task(self._run_container(container, raw))
        finally:
            await note

    async def _run_container(self, container: Container, raw: Object) -> None:
        delay_s = _CRASH_BACKOFF_S[0]
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._run_once(container, raw)
            if container.ended is None or not self._restarts(container):
                break
            if time.monotonic() - began > _HEALTHY_RUN_S:
                delay_s = _CRASH_BACKOFF_S[0]
            text = f"back-off {delay_s:.0f}s restarting failed container={container.name}"
            container.last, container.ended = container.ended, None
            container.waiting = ("CrashLoopBackOff", text)
            self._reporter.mark()
            await self._pause(delay_s)
            delay_s = min(delay_s * 2, _CRASH_BACKOFF_S[1])
        # Whoever follows the log has seen all of it; only a stop or the last run comes here.
        self._log(container.name).close()

    async def _run_once(self, container: Container, raw: Object) -> None:
        """One run, from its configuration to its end; no run at all if a stop comes first."""
        termination = self._folder / "termination" / f"{container.name}-{container.restarts}"
        log = self._log(container.name)
        try:
            launch = await self._launch(container, raw, termination)
        except LaunchError as error:
            self._note_end(
                container, raw, Exit(START_ERROR_CODE, datetime.now(UTC), str(error)), None
            )
            return
        if launch is None:
            return
        environment = base_variables(self._workspace(container.name, termination))
        process = await ContainerProcess.start(launch, log, environment)
        self._processes.add(process)
        try:
            container.restarts += 1 if container.last else 0
            container.container_id = f"process://{process.pid}"
            if process.started_at is not None:
                container.waiting, container.started_at = None, process.started_at
                self._reporter.mark()
            if self._stopping.is_set():
                # The stop came between the decision to start and the start.
                process.stop(max(self._stop_at - time.monotonic(), 0))
            self._note_end(container, raw, await process.wait(), termination)
        finally:
            self._processes.discard(process)

    async def _launch(self, container: Container, raw: Object, termination: Path) -> Launch | None:
        """What to run, once everything it refers to is there; None if a stop comes first."""
        delay_s = _CONFIG_RETRY_S[0]
        while not self._stopping.is_set():
            try:
                return await self._try_launch(container, raw, termination)
            except ConfigError as error:
                container.waiting = ("CreateContainerConfigError", str(error))
            except ApiError as error:
                container.waiting = ("CreateContainerError", str(error))
            self._reporter.mark()
            await self._pause(delay_s)
            delay_s = min(delay_s * 2, _CONFIG_RETRY_S[1])
        return None

    async def _try_launch(self, container: Container, raw: Object, termination: Path) -> Launch:
        assert self._volumes is not None
        sources = await self._host.sources(self._pod)
        try:
            self._volumes.make(sources)
        except VolumeError as error:
            raise LaunchError(str(error)) from error
        workspace = self._workspace(container.name, termination)
        workspace.scratch.mkdir(parents=True, exist_ok=True)
        termination.parent.mkdir(parents=True, exist_ok=True)
        termination.write_bytes(b"")
        return build_launch(
            self._pod,
            raw,
            sources=sources,
            place=self._place,
            volumes=self._volumes,
            addresses=self._host.addresses,
            workspace=workspace,
        )

    def _note_end(
        self, container: Container, raw: Object, end: Exit, termination: Path | None
    ) -> None:
        reason = "Completed" if end.code == 0 else "Error"
        message = termination_message(raw, end.code, termination, self._log(container.name))
        if end.start_error:
            reason, message = "StartError", end.start_error
        container.ended = Ended(
            exit_code=end.code,
            reason=reason,
            message=message,
            started_at=None if end.start_error else container.started_at,
            finished_at=end.at,
            container_id=container.container_id,
        )
        container.waiting = None
        self._reporter.mark()

    def _restarts(self, container: Container) -> bool:
        if self._stopping.is_set() or self._state.policy == "Never":
            return False
        return not container.succeeded or (self._state.policy == "Always" and not container.init)

    # --- its end --------------------------------------------------------------------------------

    @property
    def _grace_s(self) -> float:
        grace = self._pod["spec"].get("terminationGracePeriodSeconds")
        return _DEFAULT_GRACE_S if grace is None else float(grace)

    def _stop(self, grace_s: float) -> None:
        self._state.stopping = True
        self._stop_at = min(self._stop_at, time.monotonic() + grace_s)
        self._stopping.set()
        for process in self._processes:
            process.stop(grace_s)

    async def _deadline(self) -> None:
        seconds = self._pod["spec"].get("activeDeadlineSeconds")
        if seconds is None or self._lost:
            return
        await asyncio.sleep(float(seconds))
        self._state.reason = "DeadlineExceeded"
        self._state.message = "Pod was active on the node longer than the specified deadline"
        self._stop(self._grace_s)

    async def _remove(self) -> None:
        """The last word of a graceful deletion is the node's: nothing runs any more."""
        while not self._reporter.gone.is_set() and not self._forget_only:
            try:
                await self._host.client.delete(
                    pod_path(self._pod), uid=self._uid, grace_period_s=0
                )
            except ApiError as error:
                if not error.not_found and not error.conflict:
                    await asyncio.sleep(_DELETE_RETRY_S)
                    continue
            return

    async def _clean_up(self) -> None:
        for process in list(self._processes):
            process.stop(0)
            await process.wait()
        for container in [*self._state.init, *self._state.containers]:
            key = (self._namespace, self._name, container.name)
            log = self._host.logs.get(key)
            # A namesake may have taken the place in the list; its log is not ours to drop.
            if log is not None and log.belongs_to(self._folder):
                log.close()
                del self._host.logs[key]
        self._host.addresses.release(self._namespace, self._name, self._uid)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _mark_lost(self) -> None:
        """The processes went with a node that was here before."""
        for container in [*self._state.init, *self._state.containers]:
            container.waiting = None
            container.ended = Ended(
                exit_code=_LOST_CODE,
                reason="ContainerStatusUnknown",
                message="The container could not be located when the node was started again",
                started_at=None,
                finished_at=datetime.now(UTC),
                container_id="",
            )

    # --- small helpers --------------------------------------------------------------------------

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _log(self, container: str) -> LogFile:
        key = (self._namespace, self._name, container)
        log = self._host.logs.get(key)
        if log is None or not log.belongs_to(self._folder):
            log = LogFile(self._folder / "logs" / container)
            self._host.logs[key] = log
        return log

    def _workspace(self, container: str, termination: Path) -> Workspace:
        return Workspace(
            scratch=self._folder / "home" / container,
            termination=termination,
            path=self._host.path,
            isolated=self._host.isolated,
        )


def _container(raw: Object, *, init: bool = False) -> Container:
    return Container(name=str(raw["name"]), image=str(raw.get("image") or ""), init=init)


def _unsupported(spec: Object) -> str:
    for container in spec.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            return f"the sandbox has no sidecars: init container {container['name']!r}"
    return ""
