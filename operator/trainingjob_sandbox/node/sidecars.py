"""Starts and stops the sidecars of one pod: init containers that keep running beside later containers.

As in the kubelet, they start in order, each one when the previous one runs. They are restarted
whatever their exit code is, and it does not affect the pod's phase. They are stopped in reverse
order when the main containers have ended or an init container has failed.
"""

import asyncio
import time
from typing import Final

from trainingjob_sandbox.node.container_runner import ContainerRunner, StopRequest


class Sidecars:
    """The started sidecars of one pod; `pod_stop` is the pod's stop request."""

    def __init__(self, pod_stop: StopRequest) -> None:
        self._pod_stop: Final = pod_stop
        self._started: Final[list[tuple[ContainerRunner, StopRequest, asyncio.Task[None]]]] = []

    def __contains__(self, runner: ContainerRunner) -> bool:
        return any(runner is started for started, _, _ in self._started)

    async def start(self, runner: ContainerRunner, stop: StopRequest) -> None:
        """Start a sidecar, and wait until it runs or a stop of the pod is requested.

        Args:
            runner: runs the sidecar.
            stop: the sidecar's own stop request: it must outlive the pod's main containers.
        """
        task = asyncio.create_task(runner.run())
        self._started.append((runner, stop, task))
        waits = [
            asyncio.create_task(runner.began.wait()),
            asyncio.create_task(self._pod_stop.requested.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def stop(self, grace_s: float) -> None:
        """Shorten the grace period of the sidecars that are already stopping; with 0, kill all of them."""
        for runner, stop, _ in self._started:
            if grace_s <= 0 or stop.requested.is_set():
                runner.stop(grace_s)

    async def stop_in_reverse_order(self, grace_s: float) -> None:
        """Stop all sidecars, the last one first, within one grace period for all of them.

        Args:
            grace_s: seconds for all of them; the remaining time of a stop of the pod limits it.
        """
        until = time.monotonic() + grace_s
        for runner, stop, task in reversed(self._started):
            left_s = min(max(until - time.monotonic(), 0), self._pod_stop.remaining_s())
            stop.request(left_s)
            runner.stop(left_s)
            await task
