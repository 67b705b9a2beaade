"""Writes and verifies the nonce in a ConfigMap that proves that a cluster is the node's own sandbox.

The node runs the commands of pod templates with the rights of its user. The kubeconfig may be the
wrong one, and a loopback address proves nothing, because it may be the end of a tunnel. So the
starter writes a random nonce into the cluster and passes the same nonce to the node.
"""

import hmac
import secrets
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError

_NAMESPACE: Final = "kube-system"
_NAME: Final = "trainingjob-sandbox"
_KEY: Final = "nonce"
_PATH: Final = f"/api/v1/namespaces/{_NAMESPACE}/configmaps/{_NAME}"


class NonceError(Exception):
    """The cluster does not have this node's nonce."""


async def write_nonce(client: ApiClient) -> str:
    """Write a new nonce into the cluster, and return it for the node.

    Raises:
        ApiError: the API server refused, or did not answer.
    """
    nonce = secrets.token_hex(16)
    await ensure_namespace(client, _NAMESPACE)
    configmap = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NAME, "namespace": _NAMESPACE},
        "data": {_KEY: nonce},
    }
    try:
        await client.create(f"/api/v1/namespaces/{_NAMESPACE}/configmaps", configmap)
    except ApiError as error:
        if not error.conflict:
            raise
        await client.patch(_PATH, {"data": configmap["data"]})
    return nonce


async def verify_nonce(client: ApiClient, nonce: str) -> None:
    """Verify that the cluster has this nonce.

    Raises:
        NonceError: it does not; no pod may be run.
        ApiError: the API server did not answer.
    """
    server = client.credentials.server
    try:
        configmap = await client.get(_PATH)
    except ApiError as error:
        if not error.not_found:
            raise
        configmap = {}
    found = str((configmap.get("data") or {}).get(_KEY, ""))
    if not nonce or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise NonceError(
            f"{server} is not the sandbox this node was started for (ConfigMap "
            f"{_NAMESPACE}/{_NAME} does not have its nonce): no pod will run on this machine; "
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
