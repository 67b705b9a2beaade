"""The scheduler of a cluster that has none and one node: bind a pod, or say why it cannot be.

Not a scheduler: pods are not added up. A laptop runs four ranks that ask for a processor each on
two processors; only what could never fit is held back, in a scheduler's words.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.containers import TERMINAL, timestamp
from trainingjob_sandbox.node.names import Object, refusal
from trainingjob_sandbox.node.quantities import parse, pod_requests
from trainingjob_sandbox.node.reporter import pod_path
from trainingjob_sandbox.node.volumes import claims

_LOG: Final = logging.getLogger(__name__)
_RETRY_S: Final = 2.0

Tell = Callable[[Object, str, str], Awaitable[None]]
"""Writes an Event: pod, reason, message."""


def unfit(
    spec: Mapping[str, object], capacity: Mapping[str, str], labels: Mapping[str, str]
) -> str:
    """Return why the one node can never run such a pod, as a scheduler says it; "" if it can."""
    selector = spec.get("nodeSelector") or {}
    assert isinstance(selector, Mapping)
    if any(labels.get(key) != value for key, value in selector.items()):
        return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    try:
        requests = pod_requests(spec)
    except ValueError as error:
        return f"0/1 nodes are available: {error}."
    short = [
        f"1 Insufficient {name}"
        for name, wanted in sorted(requests.items())
        if wanted > parse(capacity.get(name, "0")) and name != "ephemeral-storage"
    ]
    return f"0/1 nodes are available: {', '.join(short)}." if short else ""


class Binder:
    """Binds pending pods of TrainingJobs to one node. Holds only those that have to wait."""

    def __init__(
        self,
        client: ApiClient,
        node: str,
        capacity: Mapping[str, str],
        labels: Mapping[str, str],
        tell: Tell,
    ) -> None:
        self._tell = tell
        self._client = client
        self._node = node
        self._capacity = capacity
        self._labels = labels
        self._waiting: dict[str, Object] = {}
        self._deliveries = asyncio.Event()

    def offer(self, pod: Object) -> None:
        """Look at a pod; whatever needs no binding by us is forgotten."""
        uid = pod["metadata"]["uid"]
        spec, status = pod["spec"], pod.get("status") or {}
        wanted = not (
            spec.get("nodeName")
            or spec.get("schedulingGates")
            or "deletionTimestamp" in pod["metadata"]
            or status.get("phase") in TERMINAL
        )
        if wanted:
            self._waiting[uid] = pod
            self._deliveries.set()
        else:
            self._waiting.pop(uid, None)

    def forget(self, uid: str) -> None:
        """The pod is not there any more."""
        self._waiting.pop(uid, None)

    async def run(self) -> None:
        """Bind until cancelled; what could not be bound is tried again every two seconds."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._deliveries.wait(), timeout=_RETRY_S if self._waiting else None
                )
            self._deliveries.clear()
            for uid, pod in list(self._waiting.items()):
                try:
                    if await self._try(pod):
                        self._waiting.pop(uid, None)
                except ApiError as error:
                    if error.permanent:  # bound, changed or deleted meanwhile: the watch knows
                        self._waiting.pop(uid, None)
                    else:
                        _LOG.warning("bind %s: %s", pod["metadata"]["name"], error)
                except Exception:  # noqa: BLE001 - one pod's nonsense must not hold up all others
                    _LOG.exception("bind %s", pod["metadata"]["name"])
                    self._waiting.pop(uid, None)

    async def _try(self, pod: Object) -> bool:
        why = (
            refusal(pod)
            or unfit(pod["spec"], self._capacity, self._labels)
            or await self._missing_claim(pod)
        )
        if why:
            await self._say_unschedulable(pod, why)
            return False
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        await self._client.create(f"{pod_path(pod)}/binding", binding)
        return True

    async def _missing_claim(self, pod: Object) -> str:
        namespace = pod["metadata"]["namespace"]
        for claim in claims(pod):
            try:
                await self._client.get(
                    f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"
                )
            except ApiError as error:
                if not error.not_found:
                    raise
                return f'0/1 nodes are available: persistentvolumeclaim "{claim}" not found.'
        return ""

    async def _say_unschedulable(self, pod: Object, message: str) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or []
        said: Object = next((c for c in conditions if c.get("type") == "PodScheduled"), {})
        if said.get("message") == message:
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": timestamp(datetime.now(UTC)),
        }
        others = [c for c in conditions if c.get("type") != "PodScheduled"]
        metadata = pod["metadata"]
        changed = await self._client.patch(
            f"{pod_path(pod)}/status",
            {
                "metadata": {"uid": metadata["uid"]},
                "status": {"phase": "Pending", "conditions": [*others, condition]},
            },
        )
        if metadata["uid"] in self._waiting:
            self._waiting[metadata["uid"]] = changed
        # `kubectl describe` shows events, and no messages of conditions.
        await self._tell(pod, "FailedScheduling", message)
