"""A small asynchronous Kubernetes API client for the node, the starter and `trainingjob run`.

It takes API paths and plain dicts, keeps one connection pool, and has a timeout on every call. It
is not a general client: no exec, no discovery, no auth plugins.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp

from trainingjob_web.kubeconfig import Credentials, load_kubeconfig
from trainingjob_web.line_stream import iter_lines

Object = dict[str, Any]
Change = Literal["ADDED", "MODIFIED", "DELETED"]
PatchType = Literal["merge", "json", "strategic"]

_CALL_TIMEOUT_S: Final = 30.0
_WATCH_S: Final = 300
_CONNECTIONS: Final = 64
_PAGE: Final = 500
_BACKOFF_S: Final = (0.1, 5.0)

_PATCH_TYPES: Final[Mapping[PatchType, str]] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_GONE: Final = 410
_CHANGES: Final[Mapping[str, Change]] = {
    "ADDED": "ADDED",
    "MODIFIED": "MODIFIED",
    "DELETED": "DELETED",
}


class ApiError(Exception):
    """The API server refused a request, or did not answer it.

    Attributes:
        status: the HTTP status; 0 if there was no valid response.
        reason: the reason of the Status object, e.g. `AlreadyExists`.
        message: the message of the Status object.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} ({status} {reason})")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def not_found(self) -> bool:
        """True if the object does not exist."""
        return self.status == 404  # noqa: PLR2004 - an HTTP status is its own name

    @property
    def conflict(self) -> bool:
        """True if a precondition failed, or the name is taken."""
        return self.status == 409  # noqa: PLR2004 - an HTTP status is its own name

    @property
    def permanent(self) -> bool:
        """True if a retry of the same request would fail again."""
        return self.status in {400, 403, 404, 405, 409, 413, 415, 422}


@dataclass(frozen=True, slots=True)
class Listed:
    """The complete collection: an object seen before that is not in it has been deleted."""

    items: list[Object]


@dataclass(frozen=True, slots=True)
class Changed:
    """One object changed after the last `Listed`."""

    type: Change
    object: Object


class ApiClient:
    """A connection pool to one API server. Use it as an async context manager."""

    def __init__(self, credentials: Credentials, *, connections: int = _CONNECTIONS) -> None:
        """Create the client; it connects when the context is entered.

        Args:
            credentials: the server, and the user's token or certificate.
            connections: maximum connections; 0: no limit. Each followed log keeps one open.
        """
        self.credentials = credentials
        self._connections = connections
        self._ssl = credentials.ssl_context()
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(
        cls, path: Path, context: str | None = None, *, connections: int = _CONNECTIONS
    ) -> Self:
        """Create a client for the kubeconfig's current context, or for the named one.

        Raises:
            KubeconfigError: the file cannot be read, or is not valid.
        """
        return cls(load_kubeconfig(path, context), connections=connections)

    async def __aenter__(self) -> Self:
        headers = {"Accept": "application/json", "User-Agent": "trainingjob-sandbox"}
        if self.credentials.token:
            headers["Authorization"] = f"Bearer {self.credentials.token}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=self._ssl or True, limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=_CALL_TIMEOUT_S),
            read_bufsize=256 * 1024,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Object:
        """Read one object."""
        return await self._call("GET", path)

    async def list(
        self, path: str, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[list[Object], str]:
        """Read a collection page by page; return its objects and the resourceVersion to watch from."""
        items: list[Object] = []
        query = _selectors(label_selector, field_selector) | {"limit": str(_PAGE)}
        while True:
            page = await self._call("GET", path, query=query)
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection `path`."""
        return await self._call("POST", path, body=body)

    async def patch(
        self, path: str, body: Object | Sequence[Object], *, patch_type: PatchType = "merge"
    ) -> Object:
        """Patch an object or its subresource."""
        return await self._call("PATCH", path, body=body, content_type=_PATCH_TYPES[patch_type])

    async def delete(
        self, path: str, *, uid: str = "", grace_period_s: int | None = None
    ) -> Object:
        """Delete an object; with `uid`, only if the object still has that uid."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        return await self._call("DELETE", path, body=options)

    async def watch(
        self, path: str, *, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[Listed | Changed]:
        """List and watch a collection forever: yield a `Listed`, then each change.

        After a broken connection it resumes from the last resourceVersion, with back-off. If the
        server no longer has that version (410), it yields another `Listed`.
        """
        selectors = _selectors(label_selector, field_selector)
        version = ""
        delay_s = _BACKOFF_S[0]
        while True:
            try:
                if not version:
                    items, version = await self.list(
                        path, label_selector=label_selector, field_selector=field_selector
                    )
                    yield Listed(items)
                async for event in self._stream(path, selectors, version):
                    metadata = (event.get("object") or {}).get("metadata") or {}
                    version = metadata.get("resourceVersion") or version
                    delay_s = _BACKOFF_S[0]
                    if change := _CHANGES.get(event["type"]):
                        yield Changed(change, event["object"])
            except ApiError as error:
                if error.status == _GONE:
                    version = ""
                    continue
            # Jitter, because all watches of the node break together when the server stops.
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def pod_log(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        """Read and follow a container's log, from its start to its end.

        Raises:
            ApiError: the stream broke, or there is no log (yet, or any more).
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"follow": "true", "container": container}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with self._http.get(self._url(path), params=query, timeout=timeout) as response:
                await _raise_for_status(response)
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unavailable", f"GET {path}: {_sentence(error)}") from error

    async def _stream(
        self, path: str, selectors: Mapping[str, str], version: str
    ) -> AsyncIterator[Object]:
        """Yield the events of one watch request, including bookmarks. An ERROR event raises `ApiError`."""
        query = {
            **selectors,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_S),
        }
        # The server ends the watch; the client's timeout is for a server that no longer responds.
        timeout = aiohttp.ClientTimeout(total=_WATCH_S + _CALL_TIMEOUT_S, sock_connect=10)
        try:
            async with self._http.get(self._url(path), params=query, timeout=timeout) as response:
                await _raise_for_status(response)
                try:
                    async for line in iter_lines(response.content):
                        event: Object = json.loads(line)
                        if event.get("type") == "ERROR":
                            raise _error(event.get("object") or {}, default_status=500)
                        yield event
                finally:
                    _abort(response)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(0, "Unavailable", f"watch {path}: {_sentence(error)}") from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | Sequence[Object] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": content_type}
        try:
            async with self._http.request(
                method, self._url(path), params=query, data=data, headers=headers
            ) as response:
                await _raise_for_status(response)
                answer = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(0, "Unavailable", f"{method} {path}: {_sentence(error)}") from error
        return answer if isinstance(answer, dict) else {}

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        return self._session

    def _url(self, path: str) -> str:
        return self.credentials.server + path


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in given.items() if value}


def _abort(response: aiohttp.ClientResponse) -> None:
    """Close the connection of a watch at once, without the TLS shutdown.

    A server that is still sending answers the shutdown late, and the client must not wait for it.
    """
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.ok:
        return
    raw = await response.read()
    try:
        status = json.loads(raw)
    except ValueError:
        status = {"message": raw[:500].decode("utf-8", "replace")}
    if not isinstance(status, dict):
        status = {"message": str(status)[:500]}
    status["code"] = response.status
    raise _error(status, default_status=response.status)


def _error(status: Object, *, default_status: int) -> ApiError:
    return ApiError(
        int(status.get("code") or default_status),
        str(status.get("reason") or "Unknown"),
        str(status.get("message") or "no reason given"),
    )


def _sentence(error: Exception) -> str:
    """Return the message of an error; its type if it has none, as timeouts do."""
    return str(error) or type(error).__name__
