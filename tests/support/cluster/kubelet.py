"""Simulates the kubelets of all nodes of the in-memory cluster, from a script of exit codes."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from tests.support.cluster.cluster import FakeCluster
from trainingjob_api.constants import LABEL_ATTEMPT, LABEL_INDEX

_STEP_S: Final = 0.5
_SHORTEST_S: Final = 0.001
"""A wait that is left of a step by rounding is none: fake time would not move on in it."""


class Kubelet:
    """Starts every pod, terminates it with the scripted exit code, and removes pods that are being deleted.

    Args:
        script: from attempt and rank to the exit code; None: the pod runs until it is stopped.
        run_s: how long a pod runs before it exits, in seconds.
        idle: ranks whose pods find no node.
    """

    def __init__(
        self,
        cluster: FakeCluster,
        script: Callable[[int, int], int | None] = lambda attempt, rank: 0,
        *,
        run_s: float = 2.0,
        idle: Collection[int] = (),
    ) -> None:
        self._cluster: Final = cluster
        self._script: Final = script
        self._run_s: Final = run_s
        self._idle: Final = frozenset(map(str, idle))
        self._ends_at: Final[dict[str, float]] = {}

    async def run(self) -> None:
        """Step every half second until cancelled; if no pod runs, wait until a pod changes.

        So a day of fake time without pods costs no step, and the steps keep to their half seconds.
        """
        clock = self._cluster.clock
        begun = clock.monotonic()
        while True:
            left = _STEP_S - (clock.monotonic() - begun) % _STEP_S
            await asyncio.sleep(left if left >= _SHORTEST_S else left + _STEP_S)
            self._cluster.pods_changed.clear()
            self.step()
            if not any(map(_is_busy, self._cluster.pods())):
                await self._cluster.pods_changed.wait()

    def step(self) -> None:
        """Do what is due."""
        now = self._cluster.clock.monotonic()
        self._cluster.reap()
        for pod in self._cluster.pods():
            uid, phase = pod["metadata"]["uid"], pod["status"]["phase"]
            if phase == "Pending" and pod["metadata"]["labels"][LABEL_INDEX] in self._idle:
                continue
            if phase == "Pending":
                self._cluster.run_pod(pod)
                self._ends_at[uid] = now + self._run_s
            elif phase == "Running" and now >= self._ends_at.get(uid, now):
                attempt, rank = (
                    pod["metadata"]["labels"][k] for k in (LABEL_ATTEMPT, LABEL_INDEX)
                )
                if (code := self._script(int(attempt), int(rank))) is not None:
                    self._cluster.finish_pod(pod, code)


def _is_busy(pod: dict[str, Any]) -> bool:
    """True if the pod needs an action, now or later."""
    return (
        pod["status"]["phase"] in {"Pending", "Running"} or "deletionTimestamp" in pod["metadata"]
    )
