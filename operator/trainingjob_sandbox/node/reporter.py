"""Writes one pod's status to the API server: the newest state, when it changes, until it is in."""

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.names import Object

_BACKOFF_S: Final = (0.2, 10.0)

BuildStatus = Callable[[datetime, Object], Object]
"""(now, the status as the API server has it) to the status it should have."""


def pod_path(pod: Object) -> str:
    """The API path of a pod."""
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


class StatusReporter:
    """Coalesces: ten changes while a write is under way are one more write."""

    def __init__(self, client: ApiClient, pod: Object, build: BuildStatus) -> None:
        self._client = client
        self._seen = pod
        self._uid = pod["metadata"]["uid"]
        self._build = build
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self.gone = asyncio.Event()
        """Set when the pod is not there any more, or is another one of the same name."""

    def mark(self) -> None:
        """The state has changed."""
        self._clean.clear()
        self._dirty.set()

    async def flush(self) -> None:
        """Wait until the API server has the newest state, or the pod is gone."""
        await self._clean.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        delay_s = _BACKOFF_S[0]
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write()
                delay_s = _BACKOFF_S[0]
            except ApiError as error:
                if error.not_found:
                    self.gone.set()
                else:
                    self._dirty.set()
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, _BACKOFF_S[1])
            if not self._dirty.is_set():
                self._clean.set()

    async def _write(self) -> None:
        while not self.gone.is_set():
            before = self._seen.get("status") or {}
            status = self._build(datetime.now(UTC), copy.deepcopy(before))
            if all(before.get(key) == value for key, value in status.items()):
                return
            metadata = self._seen["metadata"]
            # Lists are replaced as a whole by a merge patch. The version keeps a condition that
            # another client has added meanwhile (DisruptionTarget) from being lost.
            precondition = {"uid": self._uid, "resourceVersion": metadata["resourceVersion"]}
            try:
                self._seen = await self._client.patch(
                    f"{pod_path(self._seen)}/status", {"metadata": precondition, "status": status}
                )
            except ApiError as error:
                if not error.conflict:
                    raise
                await self._look_again()
            else:
                return

    async def _look_again(self) -> None:
        now = await self._client.get(pod_path(self._seen))
        if now["metadata"]["uid"] != self._uid:
            self.gone.set()
        else:
            self._seen = now
