"""Binds pending pods to the sandbox's one node, in place of a scheduler, or marks them unschedulable.

It does not sum the requests of pods: a laptop with two processors runs four ranks that request one
each. Only a pod that could never fit is not bound, with the message of the real scheduler.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from trainingjob_api.constants import GROUP, KIND_TRAINING_JOB, LABEL_JOB_UID
from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.constants import Object
from trainingjob_sandbox.node.containers import TERMINAL, timestamp
from trainingjob_sandbox.node.quantities import parse, pod_requests
from trainingjob_sandbox.node.reporter import pod_path
from trainingjob_sandbox.node.volumes import claims

_LOG: Final = logging.getLogger(__name__)
_RETRY_S: Final = 2.0

CreateEvent = Callable[[Object, str, str], Awaitable[None]]
"""Creates a Kubernetes Event; the arguments are pod, reason and message."""


def rejection_reason(pod: Object) -> str:
    """Return why this node may not run the pod; "" if it may.

    The node runs the commands of pod templates with the rights of its user. So it accepts only pods
    of TrainingJobs: labelled with the job's uid, and controlled by the job with that uid.
    """
    metadata = pod.get("metadata") or {}
    uid = (metadata.get("labels") or {}).get(LABEL_JOB_UID)
    if not uid:
        return f"this node runs pods of TrainingJobs only: the label {LABEL_JOB_UID} is missing"
    for owner in metadata.get("ownerReferences") or []:
        is_job = owner.get("kind") == KIND_TRAINING_JOB and str(
            owner.get("apiVersion")
        ).startswith(f"{GROUP}/")
        if owner.get("controller") and is_job and owner.get("uid") == uid:
            return ""
    return f"this node runs pods of TrainingJobs only: no TrainingJob {uid} controls this one"


def unschedulable_reason(
    spec: Mapping[str, object], capacity: Mapping[str, str], labels: Mapping[str, str]
) -> str:
    """Return why the node can never run such a pod, in the scheduler's wording; "" if it can."""
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
    """Binds pending pods of TrainingJobs to one node. Keeps only the pods that are not bound yet."""

    def __init__(
        self,
        client: ApiClient,
        node: str,
        capacity: Mapping[str, str],
        labels: Mapping[str, str],
        create_event: CreateEvent,
    ) -> None:
        self._create_event = create_event
        self._client = client
        self._node = node
        self._capacity = capacity
        self._labels = labels
        self._waiting: dict[str, Object] = {}
        self._changed = asyncio.Event()

    def observe(self, pod: Object) -> None:
        """Queue a pod that has to be bound; forget any other."""
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
            self._changed.set()
        else:
            self._waiting.pop(uid, None)

    def forget(self, uid: str) -> None:
        """Forget a deleted pod."""
        self._waiting.pop(uid, None)

    async def run(self) -> None:
        """Bind pods until cancelled; retry those that could not be bound every two seconds."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._changed.wait(), timeout=_RETRY_S if self._waiting else None
                )
            self._changed.clear()
            for uid, pod in list(self._waiting.items()):
                try:
                    if await self._try_to_bind(pod):
                        self._waiting.pop(uid, None)
                except ApiError as error:
                    if (
                        error.permanent
                    ):  # bound, changed or deleted meanwhile: the watch reports it
                        self._waiting.pop(uid, None)
                    else:
                        _LOG.warning("bind %s: %s", pod["metadata"]["name"], error)
                except Exception:  # noqa: BLE001 - one malformed pod must not block all others
                    _LOG.exception("bind %s", pod["metadata"]["name"])
                    self._waiting.pop(uid, None)

    async def _try_to_bind(self, pod: Object) -> bool:
        reason = (
            rejection_reason(pod)
            or unschedulable_reason(pod["spec"], self._capacity, self._labels)
            or await self._missing_claim(pod)
        )
        if reason:
            await self._mark_unschedulable(pod, reason)
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

    async def _mark_unschedulable(self, pod: Object, message: str) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or []
        current: Object = next((c for c in conditions if c.get("type") == "PodScheduled"), {})
        if current.get("message") == message:
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
        # `kubectl describe` shows events, but not the messages of conditions.
        await self._create_event(pod, "FailedScheduling", message)
