"""Writes one pod's status to the API server: coalesces changes, and retries with back-off."""

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.constants import Object

_BACKOFF_S: Final = (0.2, 10.0)

BuildStatus = Callable[[datetime, Object], Object]
"""Takes the current time and the status on the API server; returns the new status."""


def pod_path(pod: Object) -> str:
    """Return the API path of a pod."""
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


class StatusReporter:
    """Writes the latest state of a pod: many changes during a write lead to one further write."""

    def __init__(self, client: ApiClient, pod: Object, build: BuildStatus) -> None:
        self._client = client
        self._seen = pod
        self._uid = pod["metadata"]["uid"]
        self._build = build
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self.deleted = asyncio.Event()
        """Set when the pod no longer exists, or another pod has its name."""

    def mark_changed(self) -> None:
        """Schedule a write, because the state has changed."""
        self._clean.clear()
        self._dirty.set()

    async def flush(self) -> None:
        """Wait until the API server has the latest state, or the pod is deleted."""
        await self._clean.wait()

    async def run(self) -> None:
        """Write changes until cancelled."""
        delay_s = _BACKOFF_S[0]
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write()
                delay_s = _BACKOFF_S[0]
            except ApiError as error:
                if error.not_found:
                    self.deleted.set()
                else:
                    self._dirty.set()
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, _BACKOFF_S[1])
            if not self._dirty.is_set():
                self._clean.set()

    async def _write(self) -> None:
        while not self.deleted.is_set():
            before = self._seen.get("status") or {}
            status = self._build(datetime.now(UTC), copy.deepcopy(before))
            if all(before.get(key) == value for key, value in status.items()):
                return
            metadata = self._seen["metadata"]
            # A merge patch replaces lists as a whole. The resourceVersion prevents the loss of a
            # condition that another client has added meanwhile (DisruptionTarget).
            precondition = {"uid": self._uid, "resourceVersion": metadata["resourceVersion"]}
            try:
                self._seen = await self._client.patch(
                    f"{pod_path(self._seen)}/status", {"metadata": precondition, "status": status}
                )
            except ApiError as error:
                if not error.conflict:
                    raise
                await self._reread()
            else:
                return

    async def _reread(self) -> None:
        pod = await self._client.get(pod_path(self._seen))
        if pod["metadata"]["uid"] != self._uid:
            self.deleted.set()
        else:
            self._seen = pod
