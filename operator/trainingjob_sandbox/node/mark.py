"""The mark of a sandbox: what a cluster must carry before a node of processes dares to start.

The node runs what pod templates name, with the rights of whoever started it. A kubeconfig is
easily the wrong one, and a loopback address proves nothing: tunnels end there. So the starter
plants a random nonce in the cluster and hands the same nonce to the node.
"""

import hmac
import secrets
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError

_NAMESPACE: Final = "kube-system"
_NAME: Final = "trainingjob-sandbox"
_KEY: Final = "nonce"
_PATH: Final = f"/api/v1/namespaces/{_NAMESPACE}/configmaps/{_NAME}"


class MarkError(Exception):
    """The cluster is not marked as the sandbox that this node belongs to."""


async def plant(client: ApiClient) -> str:
    """Mark the cluster as a sandbox of the caller's; the nonce to hand to its node.

    Raises:
        ApiError: the API server refused, or did not answer.
    """
    nonce = secrets.token_hex(16)
    await ensure_namespace(client, _NAMESPACE)
    mark = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NAME, "namespace": _NAMESPACE},
        "data": {_KEY: nonce},
    }
    try:
        await client.create(f"/api/v1/namespaces/{_NAMESPACE}/configmaps", mark)
    except ApiError as error:
        if not error.conflict:
            raise
        await client.patch(_PATH, {"data": mark["data"]})
    return nonce


async def verify(client: ApiClient, nonce: str) -> None:
    """Make sure that the cluster carries this very nonce.

    Raises:
        MarkError: it does not; nothing may be run.
        ApiError: the API server did not answer.
    """
    server = client.credentials.server
    try:
        mark = await client.get(_PATH)
    except ApiError as error:
        if not error.not_found:
            raise
        mark = {}
    found = str((mark.get("data") or {}).get(_KEY, ""))
    if not nonce or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise MarkError(
            f"{server} is not the sandbox this node was started for (ConfigMap "
            f"{_NAMESPACE}/{_NAME} does not hold its nonce): no pod will be run on this machine; "
            "start both with `trainingjob sandbox up`"
        )


async def ensure_namespace(client: ApiClient, name: str) -> None:
    """Create a namespace if it is missing.

    Raises:
        ApiError: the API server refused, or did not answer.
    """
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    try:
        await client.create("/api/v1/namespaces", namespace)
    except ApiError as error:
        if not error.conflict:
            raise
