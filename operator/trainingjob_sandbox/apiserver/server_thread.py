"""Runs the API server in a thread with its own event loop, and writes kubeconfigs for it.

The server cannot share a loop with kopf, which cancels every task of its loop that was started
after it, nor with tests, which block their loop.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import yaml

from trainingjob_sandbox.apiserver.server import ApiServer
from trainingjob_sandbox.apiserver.storage import FIRST_REVISION

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 30.0


def kubeconfig(url: str, *, user: str = "admin", namespace: str = "default") -> str:
    """Return a kubeconfig for the server at a URL.

    Args:
        url: the URL of the server.
        user: the user's name, which is also the bearer token.
        namespace: the default namespace.
    """
    name = "sandbox"
    context = {"cluster": name, "user": user, "namespace": namespace}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": url}}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        },
        sort_keys=False,
    )


class ApiServerThread:
    """A context manager that runs an `ApiServer` in a thread.

    Args:
        crds: CRDs to create at the start.
        host: the address to listen on.
        port: the port; 0: any free one.
        bookmark_interval_s: seconds between two bookmarks of a watch.
        history: number of events that each collection keeps for watches that resume.
        first_revision: the first `resourceVersion`.

    Attributes:
        server: the server; while the thread runs, access it only through `call`.
    """

    def __init__(
        self,
        crds: Iterable[Mapping[str, Any]] = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        bookmark_interval_s: float = 60.0,
        history: int = 10_000,
        first_revision: int = FIRST_REVISION,
    ) -> None:
        self.server = ApiServer(
            crds,
            bookmark_interval_s=bookmark_interval_s,
            history=history,
            first_revision=first_revision,
        )
        self._host = host
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="apiserver", daemon=True)

    @property
    def url(self) -> str:
        """The server's address."""
        return self.server.url

    @property
    def port(self) -> int:
        """The server's port."""
        return self.server.port

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen again after `stop`, on the same port, with the same objects."""
        self.call(lambda server: server.start(self._host, self._port))

    def stop(self) -> None:
        """Stop listening and close all connections."""
        self.call(lambda server: server.stop())

    def close(self) -> None:
        """Stop the server, and end the thread."""
        try:
            self.stop()
        finally:
            self._end()

    @overload
    def call(self, function: Callable[[ApiServer], Coroutine[Any, Any, T]]) -> T: ...

    @overload
    def call(self, function: Callable[[ApiServer], T]) -> T: ...

    def call(self, function: Callable[[ApiServer], Any]) -> Any:
        """Run a function or coroutine function on the server's loop, and return its result.

        Raises:
            TimeoutError: it took longer than `CALL_TIMEOUT_S`.
        """

        async def run() -> Any:
            result = function(self.server)
            return await result if isinstance(result, Awaitable) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(CALL_TIMEOUT_S)

    def write_kubeconfig(
        self, path: Path | str, *, user: str = "admin", namespace: str = "default"
    ) -> Path:
        """Write a kubeconfig, and return its path."""
        target = Path(path)
        target.write_text(kubeconfig(self.url, user=user, namespace=namespace), encoding="utf-8")
        return target

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
