"""Runs one container of a pod and restarts it by the restart policy, with back-off.

A stop cancels no task: the stop request ends the process, and the loop then ends by itself.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiError
from trainingjob_sandbox.node.constants import Object
from trainingjob_sandbox.node.containers import Container, Ended, RestartPolicy
from trainingjob_sandbox.node.environment import ConfigError, PodPlacement
from trainingjob_sandbox.node.launch import LaunchError, Workspace, base_variables, build_launch
from trainingjob_sandbox.node.log_file import LogFile, termination_message
from trainingjob_sandbox.node.node_context import NodeContext
from trainingjob_sandbox.node.process import ContainerProcess, Exit
from trainingjob_sandbox.node.supervisor import START_ERROR_CODE, Launch
from trainingjob_sandbox.node.volumes import VolumeError, Volumes

_CONFIG_RETRY_S: Final = (0.5, 10.0)
_CRASH_BACKOFF_S: Final = (10.0, 300.0)
_HEALTHY_RUN_S: Final = 600.0
"""A run of this length resets the restart back-off, as in the kubelet."""


@dataclass(slots=True)
class StopRequest:
    """A request to stop a pod, with the deadline after which it is killed."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    _at: float = float("inf")

    def request(self, grace_s: float) -> None:
        """Request a stop within so many seconds; of several requests the earliest deadline applies."""
        self._at = min(self._at, time.monotonic() + grace_s)
        self.requested.set()

    def remaining_s(self) -> float:
        """Return the seconds until the kill; infinite if no stop was requested."""
        return max(self._at - time.monotonic(), 0)

    async def sleep(self, seconds: float) -> None:
        """Sleep, or return early when a stop is requested."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.requested.wait(), seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodContext:
    """The state that the containers of one pod share.

    Attributes:
        pod: the pod as it was when the node started it.
        node: the state that all pods of the node share.
        folder: the pod's own folder under the node's root.
        placement: node facts for the downward API.
        volumes: the pod's volumes.
        stop: the stop request of the pod.
        changed: called after every change of a container's state.
    """

    pod: Object
    node: NodeContext
    folder: Path
    placement: PodPlacement
    volumes: Volumes
    stop: StopRequest
    changed: Callable[[], None]

    @property
    def policy(self) -> RestartPolicy:
        """The pod's restart policy."""
        policy: RestartPolicy = self.pod["spec"].get("restartPolicy") or "Always"
        return policy


class ContainerRunner:
    """Runs one container, and keeps its state in `container`."""

    def __init__(self, context: PodContext, raw: Object, container: Container) -> None:
        self._context = context
        self._raw = raw
        self._container = container
        self._process: ContainerProcess | None = None
        metadata = context.pod["metadata"]
        self._log_key = (str(metadata["namespace"]), str(metadata["name"]), container.name)
        self._log = LogFile(context.folder / "logs" / container.name)
        self.began: Final = asyncio.Event()
        """Set when its first run has started, or when it ends without one."""

    async def run(self) -> None:
        """Run the container, and restart it by the restart policy, until it has finished or is stopped."""
        container, stop = self._container, self._context.stop
        self._context.node.logs[self._log_key] = self._log
        delay_s = _CRASH_BACKOFF_S[0]
        container.live = container.sidecar
        try:
            while not stop.requested.is_set():
                began = time.monotonic()
                await self._run_once()
                if not self._is_to_restart():
                    return
                if time.monotonic() - began > _HEALTHY_RUN_S:
                    delay_s = _CRASH_BACKOFF_S[0]
                container.crashed(
                    f"back-off {delay_s:.0f}s restarting failed container={container.name}"
                )
                self._context.changed()
                await stop.sleep(delay_s)
                delay_s = min(delay_s * 2, _CRASH_BACKOFF_S[1])
        finally:
            container.live = False
            if container.sidecar:
                container.cancel_restart()
            self.began.set()
            self._context.changed()
            self._log.close()  # ends `kubectl logs --follow`

    def stop(self, grace_s: float) -> None:
        """Stop the current run, if there is one."""
        if self._process is not None:
            self._process.stop(grace_s)

    async def forget(self) -> None:
        """Kill the current run and remove the log from the node's list."""
        if self._process is not None:
            self._process.stop(0)
            await self._process.wait()
        # A newer pod of the same name may have replaced the entry: keep its log.
        if self._context.node.logs.get(self._log_key) is self._log:
            del self._context.node.logs[self._log_key]

    async def _run_once(self) -> None:
        """Run the container once: wait for its configuration, start it, wait for its end.

        A stop request before the start skips the run.
        """
        container = self._container
        termination = self._context.folder / "termination" / container.name
        workspace = Workspace(
            scratch=self._context.folder / "home" / container.name,
            termination=termination,
            path=self._context.node.path,
            isolated=self._context.node.isolated,
        )
        try:
            launch = await self._wait_for_launch(workspace)
        except LaunchError as error:
            self._ended(Exit(START_ERROR_CODE, datetime.now(UTC), str(error)))
            return
        if launch is None:
            return
        self._process = await ContainerProcess.start(launch, self._log, base_variables(workspace))
        container.container_id = f"process://{self._process.pid}"
        if self._process.started_at is not None:
            container.started(self._process.started_at)
            self.began.set()
            self._context.changed()
        if self._context.stop.requested.is_set():
            # The stop was requested during the start, when there was no process to stop.
            self._process.stop(self._context.stop.remaining_s())
        end = await self._process.wait()
        self._process = None
        message = termination_message(self._raw, end.code, termination, self._log)
        self._ended(end, message)

    async def _wait_for_launch(self, workspace: Workspace) -> Launch | None:
        """Return the launch specification once all ConfigMaps and Secrets exist; None if stopped first."""
        delay_s = _CONFIG_RETRY_S[0]
        while not self._context.stop.requested.is_set():
            try:
                sources = await self._context.node.read_sources(self._context.pod)
                self._context.volumes.make(sources)
                workspace.prepare()
                return build_launch(
                    self._context.pod,
                    self._raw,
                    sources=sources,
                    placement=self._context.placement,
                    volumes=self._context.volumes,
                    addresses=self._context.node.addresses,
                    workspace=workspace,
                )
            except VolumeError as error:
                raise LaunchError(str(error)) from error
            except ConfigError as error:
                self._container.waiting = ("CreateContainerConfigError", str(error))
            except ApiError as error:
                self._container.waiting = ("CreateContainerError", str(error))
            self._context.changed()
            await self._context.stop.sleep(delay_s)
            delay_s = min(delay_s * 2, _CONFIG_RETRY_S[1])
        return None

    def _ended(self, end: Exit, message: str = "") -> None:
        container = self._container
        reason = "Completed" if end.code == 0 else "Error"
        if end.start_error:
            reason, message = "StartError", end.start_error
        container.waiting = None
        container.ended = Ended(
            exit_code=end.code,
            reason=reason,
            message=message,
            started_at=None if end.start_error else container.started_at,
            finished_at=end.at,
            container_id=container.container_id,
        )
        self._context.changed()

    def _is_to_restart(self) -> bool:
        container, policy = self._container, self._context.policy
        if container.ended is None or self._context.stop.requested.is_set():
            return False
        if container.sidecar:
            return True
        if policy == "Never":
            return False
        return not container.succeeded or (policy == "Always" and not container.init)
