"""The sidecars of one pod: init containers that run beside all that comes after them.

As a kubelet does it: they are started in their order, each as soon as the one before runs. They are
restarted whatever they return, which decides nothing about the pod. When the main containers have
ended, or an init container has failed, they are stopped, the last one first.
"""

import asyncio
import time
from typing import Final

from trainingjob_sandbox.node.container_runner import ContainerRunner, Stop


class Sidecars:
    """Those of one pod that were started; `pod_stop` says how long a pod that is to stop has."""

    def __init__(self, pod_stop: Stop) -> None:
        self._pod_stop: Final = pod_stop
        self._started: Final[list[tuple[ContainerRunner, Stop, asyncio.Task[None]]]] = []

    def __contains__(self, runner: ContainerRunner) -> bool:
        return any(runner is started for started, _, _ in self._started)

    async def start(self, runner: ContainerRunner, stop: Stop) -> None:
        """Start one, and wait until it runs, or the pod is to stop before it does.

        Args:
            runner: the container's.
            stop: what ends it, and it alone: it has to outlast the pod's main containers.
        """
        task = asyncio.create_task(runner.run())
        self._started.append((runner, stop, task))
        waits = [
            asyncio.create_task(runner.began.wait()),
            asyncio.create_task(self._pod_stop.asked.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def stop(self, grace_s: float) -> None:
        """The pod is to stop: shorten the time of those that are stopping; 0: kill all of them."""
        for runner, stop, _ in self._started:
            if grace_s <= 0 or stop.asked.is_set():
                runner.stop(grace_s)

    async def end(self, grace_s: float) -> None:
        """Stop all of them, the last one first; each has what the ones before have left.

        Args:
            grace_s: seconds for all together; what is left of a stop of the pod is less.
        """
        until = time.monotonic() + grace_s
        for runner, stop, task in reversed(self._started):
            left_s = min(max(until - time.monotonic(), 0), self._pod_stop.left_s())
            stop.ask(left_s)
            runner.stop(left_s)
            await task
