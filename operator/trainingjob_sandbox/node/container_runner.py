"""Runs one container of a pod until it need not run again: configuration, runs, back-off, end.

Nothing is cancelled to stop a container: a stop is announced, its process ends, the loop sees it.
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
from trainingjob_sandbox.node.containers import Container, Ended, RestartPolicy
from trainingjob_sandbox.node.environment import ConfigError, Place
from trainingjob_sandbox.node.host import Host
from trainingjob_sandbox.node.launch import LaunchError, Workspace, base_variables, build_launch
from trainingjob_sandbox.node.log_file import LogFile, termination_message
from trainingjob_sandbox.node.names import Object
from trainingjob_sandbox.node.process import ContainerProcess, Exit
from trainingjob_sandbox.node.supervisor import START_ERROR_CODE, Launch
from trainingjob_sandbox.node.volumes import VolumeError, Volumes

_CONFIG_RETRY_S: Final = (0.5, 10.0)
_CRASH_BACKOFF_S: Final = (10.0, 300.0)
_HEALTHY_RUN_S: Final = 600.0
"""A container that ran this long starts its back-off anew, as a kubelet's does."""


@dataclass(slots=True)
class Stop:
    """The request to stop a pod, and the time that it has."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _at: float = float("inf")

    def ask(self, grace_s: float) -> None:
        """Stop within so many seconds; of several orders the shortest counts."""
        self._at = min(self._at, time.monotonic() + grace_s)
        self.asked.set()

    def left_s(self) -> float:
        """Seconds until everything is killed; infinite before anybody asked."""
        return max(self._at - time.monotonic(), 0)

    async def pause(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.asked.wait(), seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodContext:
    """The things that the containers of one pod share.

    Attributes:
        pod: the pod as it was when the node took it on.
        host: the node's.
        folder: the pod's own folder under the node's root.
        place: what the downward API says.
        volumes: the pod's.
        stop: whether the pod is to stop.
        changed: to be called after every change of a container's state.
    """

    pod: Object
    host: Host
    folder: Path
    place: Place
    volumes: Volumes
    stop: Stop
    changed: Callable[[], None]

    @property
    def policy(self) -> RestartPolicy:
        """The pod's restart policy."""
        policy: RestartPolicy = self.pod["spec"].get("restartPolicy") or "Always"
        return policy


class ContainerRunner:
    """Runs one container; `container` holds what is known of it."""

    def __init__(self, context: PodContext, raw: Object, container: Container) -> None:
        self._context = context
        self._raw = raw
        self._container = container
        self._process: ContainerProcess | None = None
        metadata = context.pod["metadata"]
        self._log_key = (str(metadata["namespace"]), str(metadata["name"]), container.name)
        self._log = LogFile(context.folder / "logs" / container.name)
        self.began: Final = asyncio.Event()
        """Set when its first run is under way, or it is over without one."""

    async def run(self) -> None:
        """Run it, again and again if the restart policy says so, until it is over or stopped."""
        container, stop = self._container, self._context.stop
        self._context.host.logs[self._log_key] = self._log
        delay_s = _CRASH_BACKOFF_S[0]
        container.live = container.sidecar
        try:
            while not stop.asked.is_set():
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
                await stop.pause(delay_s)
                delay_s = min(delay_s * 2, _CRASH_BACKOFF_S[1])
        finally:
            container.live = False
            if container.sidecar:
                container.over()
            self.began.set()
            self._context.changed()
            # Whoever follows the log has seen all of it now.
            self._log.close()

    def stop(self, grace_s: float) -> None:
        """Pass the pod's stop on to what runs now."""
        if self._process is not None:
            self._process.stop(grace_s)

    async def forget(self) -> None:
        """Kill what is left and drop the log from the node's list."""
        if self._process is not None:
            self._process.stop(0)
            await self._process.wait()
        # A namesake may have taken the place in the list; its log is not ours to drop.
        if self._context.host.logs.get(self._log_key) is self._log:
            del self._context.host.logs[self._log_key]

    async def _run_once(self) -> None:
        """One run, from its configuration to its end; no run at all if a stop comes first."""
        container = self._container
        termination = self._context.folder / "termination" / container.name
        workspace = Workspace(
            scratch=self._context.folder / "home" / container.name,
            termination=termination,
            path=self._context.host.path,
            isolated=self._context.host.isolated,
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
        if self._context.stop.asked.is_set():
            # The stop came while it was being started, and had no process to go to.
            self._process.stop(self._context.stop.left_s())
        end = await self._process.wait()
        self._process = None
        message = termination_message(self._raw, end.code, termination, self._log)
        self._ended(end, message)

    async def _wait_for_launch(self, workspace: Workspace) -> Launch | None:
        """Return what to run, once everything it refers to is there; None if a stop comes first."""
        delay_s = _CONFIG_RETRY_S[0]
        while not self._context.stop.asked.is_set():
            try:
                sources = await self._context.host.sources(self._context.pod)
                self._context.volumes.make(sources)
                workspace.prepare()
                return build_launch(
                    self._context.pod,
                    self._raw,
                    sources=sources,
                    place=self._context.place,
                    volumes=self._context.volumes,
                    addresses=self._context.host.addresses,
                    workspace=workspace,
                )
            except VolumeError as error:
                raise LaunchError(str(error)) from error
            except ConfigError as error:
                self._container.waiting = ("CreateContainerConfigError", str(error))
            except ApiError as error:
                self._container.waiting = ("CreateContainerError", str(error))
            self._context.changed()
            await self._context.stop.pause(delay_s)
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
        if container.ended is None or self._context.stop.asked.is_set():
            return False
        if container.sidecar:
            return True
        if policy == "Never":
            return False
        return not container.succeeded or (policy == "Always" and not container.init)
