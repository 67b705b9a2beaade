"""The server itself: HTTP in front, the store behind."""

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
from trainingjob_sandbox.apiserver.reviews import Accounts, check_right, is_review, review
from trainingjob_sandbox.apiserver.storage import FIRST_REVISION, JsonObject, Storage
from trainingjob_sandbox.apiserver.store import Store

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 3 * 1024 * 1024

_HEALTH: Final = frozenset({"healthz", "livez", "readyz"})
_CLIENT_GONE: Final = 499
_SHUTDOWN_S: Final = 0.2


class ApiServer:
    """A Kubernetes API server on loopback, in memory.

    It trusts everyone: a bearer token is taken for the user's name, and nothing is refused for
    want of rights, until a test gives it `accounts`. Start, stop and everything else happens in one event loop; from other threads
    use `ApiServerThread`.

    Args:
        crds: definitions that are there from the start.
        bookmark_interval_s: seconds between two bookmarks of a watch.
        history: how many changes each kind remembers for watches that resume.
        first_revision: where `resourceVersion` begins.

    Attributes:
        store: the objects, to look at and to change without HTTP.
        accounts: the users and their rights; while there are none everyone may do everything.
        url: where the server is, while it runs.
        port: its port; a restart takes the same one.
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

    # --- life ------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; on port 0 on any free one, or on the one of the time before.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # Without cancellation a hanging request would outlive its client.
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
        """Stop listening and break all connections; the objects stay."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self.drop_watches()
        await runner.cleanup()
        await self._handlers.logs.close()

    def _defer(self, step: Any) -> None:
        """Do what follows from a write after the current request; without a loop, at the start."""
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
        """Set what a pod's log is; without a container, that of all of them."""
        self._handlers.logs.give(namespace, name, container, log.encode())

    # --- requests --------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _refusal(error)
        except ConnectionError:
            # The client left while it was answered.
            return web.Response(status=_CLIENT_GONE)
        except Exception:  # noqa: BLE001 - the last resort of every request
            # A fault of our own: the client gets an answer that it understands, the log the rest.
            _log.exception("%s %s failed", request.method, request.path_qs)
            return _refusal(ApiError(500, "InternalError", "the sandbox failed, see its log"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
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
        account = self.accounts.of(headers.get("authorization", ""))
        if not path.plural:
            return self._about(request, path)
        if is_review(path) and request.method == "POST":
            content_type = headers.get("content-type", "").partition(";")[0]
            return reply(*review(self.accounts, account, path, body, content_type))
        check_acceptable(headers.get("accept", ""))
        resource = self._registry.find(path.group, path.version, path.plural)
        what = verb(request.method, path, request.query)
        check_right(account, what, path)
        call = Call(what, resource, path, request.query, headers, body)
        return await self._handlers.handle(request, call)

    def _about(self, request: web.Request, path: Path) -> web.Response:
        """Answer requests that are about the server: discovery, health, version, OpenAPI."""
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


def _refusal(error: ApiError) -> web.Response:
    response = reply(error.status, error.code)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response
