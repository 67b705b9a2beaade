"""The state that all pods of the node share: API client, addresses, logs; reads sources, creates Events."""

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
from trainingjob_sandbox.node.constants import Object
from trainingjob_sandbox.node.containers import timestamp
from trainingjob_sandbox.node.environment import Sources
from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.module_command import module_command
from trainingjob_sandbox.node.volumes import references

_MAX_PODS: Final = 110
_PROBE_TIMEOUT_S: Final = 10
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class NodeContext:
    """Shared by the pods of one node. All methods must run on the event loop.

    Attributes:
        name: the node's name.
        root: the node's folder.
        client: client of the API server.
        isolated: True if pods can have private mount namespaces here.
        path: `PATH` of the containers.
        capacity: the node's resources.
    """

    name: str
    root: Path
    client: ApiClient
    isolated: bool
    path: str
    capacity: Mapping[str, str]
    addresses: AddressBook = field(default_factory=AddressBook)
    logs: dict[tuple[str, str, str], LogFile] = field(default_factory=dict)
    """(namespace, pod, container) -> its log; removed with the pod."""

    def find_log(self, namespace: str, pod: str, container: str) -> LogFile | None:
        """Return the log of a container; None if it has not started here."""
        return self.logs.get((namespace, pod, container))

    async def read_sources(self, pod: Object) -> Sources:
        """Read all existing ConfigMaps and Secrets that the pod refers to.

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

    async def create_event(self, pod: Object, reason: str, message: str) -> None:
        """Create an Event about a pod. Best effort: an error is logged, not raised."""
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
    """Return this machine's processors and memory, and the node's maximum number of pods."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory // 1024}Ki",
        "pods": str(_MAX_PODS),
    }


async def can_mount() -> bool:
    """Return True if private mount namespaces work on this machine; tried in a separate process."""
    process = await asyncio.create_subprocess_exec(
        *module_command("trainingjob_sandbox.node.mounts"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await asyncio.wait_for(process.communicate(), _PROBE_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    if process.returncode:
        _LOG.warning("mount namespaces do not work on this machine: %s", stderr.decode().strip())
    return process.returncode == 0


def _data(source: Object) -> dict[str, bytes]:
    """Return the decoded content of a ConfigMap or Secret; a Secret's `data` and `binaryData` are base64."""
    encoded = dict(source.get("binaryData") or {})
    plain = source.get("data") or {}
    if source.get("kind") == "Secret":
        encoded, plain = plain, {}
    data = {key: str(value).encode("utf-8", "surrogateescape") for key, value in plain.items()}
    for key, value in encoded.items():
        try:
            data[key] = base64.b64decode(value)
        except (binascii.Error, ValueError):
            _LOG.warning("the value of key %s is not base64; the key is left out", key)
    return data
