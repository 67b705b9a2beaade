"""The things that all pods of the node share: its name, its folder, its client, its addresses, its logs."""

import asyncio
import base64
import binascii
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.addresses import AddressBook
from trainingjob_sandbox.node.containers import timestamp
from trainingjob_sandbox.node.environment import Sources
from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.names import Object
from trainingjob_sandbox.node.programs import own_program
from trainingjob_sandbox.node.volumes import references

_MAX_PODS: Final = 110
_PROBE_TIMEOUT_S: Final = 10
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Host:
    """Shared by the pods of one node; every method belongs to the event loop."""

    name: str
    root: Path
    client: ApiClient
    isolated: bool
    path: str
    capacity: Mapping[str, str]
    addresses: AddressBook = field(default_factory=AddressBook)
    logs: dict[tuple[str, str, str], LogFile] = field(default_factory=dict)
    """(namespace, pod, container) to its log; emptied as pods go."""

    def log(self, namespace: str, pod: str, container: str) -> LogFile | None:
        """The log of a container that has started here."""
        return self.logs.get((namespace, pod, container))

    async def sources(self, pod: Object) -> Sources:
        """Every ConfigMap and Secret that the pod mentions and that exists.

        Raises:
            ApiError: the API server refused, or did not answer.
        """
        namespace = pod["metadata"]["namespace"]
        configmaps, secrets = references(pod)
        found: dict[str, dict[str, Mapping[str, bytes]]] = {"configmaps": {}, "secrets": {}}
        wanted = [("configmaps", n) for n in configmaps] + [("secrets", n) for n in secrets]
        for kind, name in wanted:
            try:
                path = f"/api/v1/namespaces/{namespace}/{kind}/{name}"
                found[kind][name] = _data(await self.client.get(path))
            except ApiError as error:
                if not error.not_found:
                    raise
        return Sources(configmaps=found["configmaps"], secrets=found["secrets"])

    async def event(self, pod: Object, reason: str, message: str) -> None:
        """Write one Event about a pod. Events are courtesy: a refusal is logged, not raised."""
        metadata, now = pod["metadata"], timestamp(datetime.now(UTC))
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name']}.",
                "namespace": metadata["namespace"],
            },
            "type": "Normal",
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "trainingjob-sandbox", "host": self.name},
            "reportingComponent": "trainingjob.dev/sandbox",
            "reportingInstance": self.name,
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        }
        try:
            await self.client.create(f"/api/v1/namespaces/{metadata['namespace']}/events", event)
        except ApiError as error:
            _LOG.info("no event %s for pod %s: %s", reason, metadata["name"], error)


def machine_capacity() -> dict[str, str]:
    """This machine's processors and memory, and how many pods the node takes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory // 1024}Ki",
        "pods": str(_MAX_PODS),
    }


async def can_mount() -> bool:
    """Try once, in a process of its own, whether mount paths can be made real here."""
    process = await asyncio.create_subprocess_exec(
        *own_program("trainingjob_sandbox.node.mounts"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, why = await asyncio.wait_for(process.communicate(), _PROBE_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    if process.returncode:
        _LOG.warning("mount paths cannot be made real on this machine: %s", why.decode().strip())
    return process.returncode == 0


def _data(source: Object) -> dict[str, bytes]:
    """The content of a ConfigMap or Secret: `data` of a Secret is base64, as is `binaryData`."""
    encoded = dict(source.get("binaryData") or {})
    plain = source.get("data") or {}
    if source.get("kind") == "Secret":
        encoded, plain = plain, {}
    data = {key: str(value).encode("utf-8", "surrogateescape") for key, value in plain.items()}
    for key, value in encoded.items():
        try:
            data[key] = base64.b64decode(value)
        except (binascii.Error, ValueError):
            _LOG.warning("%s is not base64: key left out", key)
    return data
