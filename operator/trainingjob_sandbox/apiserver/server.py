"""The API server: serves HTTP, authenticates and routes requests, and connects store and controllers."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from trainingjob_sandbox.apiserver import builtin, errors, openapi
from trainingjob_sandbox.apiserver.controllers import Controllers
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.handlers import Handlers, reply
from trainingjob_sandbox.apiserver.registry import SERVER_VERSION, Registry
from trainingjob_sandbox.apiserver.requests import (
    Call,
    Path,
    check_acceptable,
    check_no_browser,
    verb,
)
from trainingjob_sandbox.apiserver.reviews import Accounts, authorize, is_review, review
from trainingjob_sandbox.apiserver.storage import FIRST_REVISION, JsonObject, Storage
from trainingjob_sandbox.apiserver.store import Store

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 3 * 1024 * 1024

_HEALTH: Final = frozenset({"healthz", "livez", "readyz"})
_CLIENT_GONE: Final = 499
_SHUTDOWN_S: Final = 0.2


class ApiServer:
    """An in-memory Kubernetes API server on loopback.

    Without `accounts`, which only tests add, it allows every request, and uses a bearer token as
    the user's name. All methods must be called on one event loop; from other threads use
    `ApiServerThread`.

    Args:
        crds: CRDs to create at the start.
        bookmark_interval_s: seconds between two bookmarks of a watch.
        history: number of events that each collection keeps for watches that resume.
        first_revision: the first `resourceVersion`.

    Attributes:
        store: the objects, for access without HTTP.
        accounts: the users and their rights; if empty, everything is allowed.
        url: the URL of the server while it runs.
        port: its port; a restart uses the same one.
    """

    def __init__(
        self,
        crds: Iterable[Mapping[str, Any]] = (),
        *,
        bookmark_interval_s: float = 60.0,
        history: int = 10_000,
        first_revision: int = FIRST_REVISION,
    ) -> None:
        self._storage = Storage(history, first_revision)
        self._registry = Registry(builtin.builtin_resources())
        self.store = Store(self._storage, self._registry)
        self.accounts = Accounts()
        self._controllers = Controllers(self.store, self._defer)
        self._handlers = Handlers(self.store, bookmark_interval_s=bookmark_interval_s)
        self.port = 0
        self.url = ""
        self._runner: web.AppRunner | None = None
        for name in builtin.FIRST_NAMESPACES:
            self.store.create("namespaces", {"metadata": {"name": name}})
        for crd in crds:
            self.store.create("customresourcedefinitions", crd)

    # --- start and stop --------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; with port 0, on the previous port, or at first on any free one.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # Cancel the handler when its client disconnects; else a waiting request would remain.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_S
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port or self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://{host}:{self.port}"
        self._controllers.run_all()

    async def stop(self) -> None:
        """Stop listening and close all connections; the objects are kept."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self.drop_watches()
        await runner.cleanup()
        await self._handlers.logs.close()

    def _defer(self, step: Any) -> None:
        """Schedule controller work after the current request; without a loop, `start` does it."""
        try:
            asyncio.get_running_loop().call_soon(step)
        except RuntimeError:
            return

    def drop_watches(self, resource: str | None = None) -> None:
        """End all watches, or those of one resource, as a restart of a real server would."""
        for where, collection in self._storage.collections.items():
            if resource in (None, where.plural):
                for subscriber in tuple(collection.subscribers):
                    subscriber.end()

    def set_pod_log(
        self, name: str, log: str, *, namespace: str = "default", container: str = ""
    ) -> None:
        """Set the log of a pod's container; without a container, of all of them."""
        self._handlers.logs.set_log(namespace, name, container, log.encode())

    # --- requests --------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._route(request)
        except ApiError as error:
            return _error_response(error)
        except ConnectionError:
            # The client disconnected during the response.
            return web.Response(status=_CLIENT_GONE)
        except Exception:  # noqa: BLE001 - the last resort of every request
            # A bug of ours: the client gets a Status, and the log the traceback.
            _log.exception("%s %s failed", request.method, request.path_qs)
            internal = ApiError(500, "InternalError", "internal error of the sandbox, see its log")
            return _error_response(internal)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise ApiError(
                413,
                "RequestEntityTooLarge",
                f"Request entity too large: limit is {MAX_BODY_BYTES}",
            ) from error
        path = Path.read(request.path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        check_no_browser(headers)
        account = self.accounts.authenticate(headers.get("authorization", ""))
        if not path.plural:
            return self._non_resource(request, path)
        if is_review(path) and request.method == "POST":
            content_type = headers.get("content-type", "").partition(";")[0]
            return reply(*review(self.accounts, account, path, body, content_type))
        check_acceptable(headers.get("accept", ""))
        resource = self._registry.find(path.group, path.version, path.plural)
        what = verb(request.method, path, request.query)
        authorize(account, what, path)
        call = Call(what, resource, path, request.query, headers, body)
        return await self._handlers.handle(request, call)

    def _non_resource(self, request: web.Request, path: Path) -> web.Response:
        """Answer non-resource requests: discovery, health, version, OpenAPI."""
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        parts = [part for part in request.path.split("/") if part]
        if parts and parts[0] in _HEALTH:
            return web.Response(text="ok")
        if parts == ["openapi", "v2"]:
            return web.Response(body=openapi.v2(), content_type=openapi.V2_MEDIA_TYPE)
        if parts[:1] == ["openapi"]:
            found = self._openapi(parts[1:])
        elif path.version:
            found = self._registry.resource_list(path.group, path.version)
        else:
            found = self._discovery(parts)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        return reply(found)

    def _openapi(self, parts: list[str]) -> JsonObject | None:
        if parts == ["v3"]:
            return openapi.index(self._registry)
        if parts[:1] == ["v3"]:
            return openapi.document(self._registry, "/".join(parts[1:]))
        return None

    def _discovery(self, parts: list[str]) -> JsonObject | None:
        match parts:
            case []:
                return {"paths": ["/api", "/apis", "/healthz", "/openapi/v3", "/version"]}
            case ["version"]:
                return dict(SERVER_VERSION)
            case ["api"]:
                return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"]}
            case ["apis"]:
                return self._registry.group_list()
            case ["apis", group]:
                return self._registry.group(group)
            case _:
                return None


def _error_response(error: ApiError) -> web.Response:
    response = reply(error.status, error.code)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response
