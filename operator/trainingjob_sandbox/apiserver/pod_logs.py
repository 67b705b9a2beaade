"""Serves `pods/log`: proxies the log from the pod's node, or returns one that a test has set."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp import web

from trainingjob_sandbox.apiserver import builtin, errors
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.storage import JsonObject, Key
from trainingjob_sandbox.apiserver.store import Store

SCHEME_ANNOTATION: Final = "trainingjob.dev/sandbox-kubelet-scheme"
"""Annotation of a node: `http` if it serves its logs without TLS."""

MAX_LOGS: Final = 1000
"""Maximum number of logs set by tests."""

CONNECT_TIMEOUT_S: Final = 5.0
_CHUNK: Final = 65_536
_PASSED_ON: Final = ("follow", "tailLines", "limitBytes")


class PodLogs:
    """Handles `GET pods/{name}/log`.

    Args:
        store: the pods and nodes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fixed: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    def set_log(self, namespace: str, pod: str, container: str, log: bytes) -> None:
        """Set the log of a container, which is then returned instead of the node's."""
        self._fixed[namespace, pod, container] = log
        self._fixed.move_to_end((namespace, pod, container))
        while len(self._fixed) > MAX_LOGS:
            self._fixed.popitem(last=False)

    async def close(self) -> None:
        """Close the connections to nodes."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def serve(
        self, request: web.Request, namespace: str, name: str, query: Mapping[str, str]
    ) -> web.StreamResponse:
        """Return a container's log; with `follow`, stream it until the container has ended.

        Raises:
            ApiError: 400, no such container; 404, no such pod or node; 500, the node does not
                answer.
        """
        pod = self._store.find("pods", name, namespace).obj
        container = _container(pod, query.get("container", ""))
        for key in ((namespace, name, container), (namespace, name, "")):
            if key in self._fixed:
                return web.Response(body=_cut(self._fixed[key], query), content_type="text/plain")
        node = pod["spec"].get("nodeName")
        if not node:
            return web.Response(status=204)
        base = self._kubelet(pod, node)
        url = f"{base}/containerLogs/{namespace}/{name}/{container}"
        passed_on = {key: query[key] for key in _PASSED_ON if query.get(key)}
        return await self._proxy(request, url, passed_on)

    def _kubelet(self, pod: Mapping[str, Any], node_name: str) -> str:
        stored = self._store.storage.collection(builtin.NODES).objects.get(Key("", node_name))
        if stored is None:
            identity = self._store.registry.by_name("pods").identity
            raise errors.not_found(identity, node_name)
        status = stored.obj.get("status") or {}
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        addresses = status.get("addresses") or []
        address = next((a["address"] for a in addresses if a.get("type") == "InternalIP"), None)
        if not address or not endpoint.get("Port"):
            raise ApiError(
                500, "InternalError", f"no preferred addresses found; known addresses: {addresses}"
            )
        annotations = stored.metadata.get("annotations") or {}
        return f"{annotations.get(SCHEME_ANNOTATION, 'https')}://{address}:{endpoint['Port']}"

    async def _proxy(
        self, request: web.Request, url: str, query: Mapping[str, str]
    ) -> web.StreamResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            )
        response: web.StreamResponse | None = None
        try:
            # The node is on this machine, and its certificate is self-signed.
            async with self._session.get(url, params=query, ssl=False) as answer:
                if answer.status >= web.HTTPBadRequest.status_code:
                    raise ApiError(answer.status, "InternalError", await answer.text())
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    await response.write(chunk)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if response is None:
                message = f'Get "{url}": {error}'
                raise ApiError(500, "InternalError", message) from error
            # A part of the log was sent: abort, because an orderly end would mean that it is complete.
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response


def _container(pod: JsonObject, asked: str) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [
        item["name"] for field in ("initContainers", "containers") for item in spec.get(field, ())
    ]
    regular = [item["name"] for item in spec.get("containers", ())]
    if asked:
        if asked in names:
            return asked
        raise errors.bad_request(f"container {asked} is not valid for pod {name}")
    if len(regular) == 1:
        return str(regular[0])
    raise errors.bad_request(
        f"a container name must be specified for pod {name}, choose one of: [{' '.join(regular)}]"
    )


def _cut(log: bytes, query: Mapping[str, str]) -> bytes:
    if query.get("tailLines"):
        count = int(query["tailLines"])
        lines = log.splitlines(keepends=True)
        log = b"".join(lines[-count:]) if count else b""
    if query.get("limitBytes"):
        log = log[: int(query["limitBytes"])]
    return log
