"""Configures kopf: its settings, its login, and the startup and cleanup handlers."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import aiohttp
import kopf

from trainingjob_api.constants import GROUP

_LIST_PAGE: Final = 250
_SERVER_TIMEOUT_S: Final = 600
_REQUEST_TIMEOUT_S: Final = 30
_WORKER_IDLE_S: Final = 0.05
_END_AT_LAST_S: Final = 8.0


OpenSession = Callable[[], Awaitable[aiohttp.ClientSession]]
"""Opens an HTTP session to the API server with a currently valid token."""


def operator_settings(*, clusterwide: bool) -> kopf.OperatorSettings:
    """Return kopf's settings, each with the reason for its value.

    Args:
        clusterwide: whether all namespaces are watched, not only named ones.
    """
    settings = kopf.OperatorSettings()
    # By default kopf watches namespaces and CRDs, which needs cluster-wide rights. An operator of
    # named namespaces does not have them, and needs no scanning.
    settings.scanning.disabled = not clusterwide
    settings.posting.enabled = False  # our own recorder is bounded and merges
    # kopf removes its own finalizer from each object for which no handler needs it, and none of
    # ours does. That would be a PATCH, which the operator may not make. So name a finalizer that no
    # object has.
    settings.persistence.finalizer = f"{GROUP}/none"
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.watching.chunk_size = _LIST_PAGE
    # kopf detects a silently dead watch by missing bookmarks after 70 s (its default). In addition,
    # the server ends every watch after ten minutes. It must be an integer, as a query parameter.
    settings.watching.server_timeout = _SERVER_TIMEOUT_S
    settings.networking.request_timeout = _REQUEST_TIMEOUT_S
    settings.networking.error_backoffs = _ForeverBackoffs()
    # kopf keeps a worker task, with the event, for each object that had an event, until the worker
    # has been idle for this time. At a start there is an event for every policy. With a policy in
    # each namespace that was thousands of tasks at once, which made the process permanently larger.
    # worker_limit is not set: a slot is occupied until its worker is idle, and our own queue limits
    # the work.
    settings.queueing.idle_timeout = _WORKER_IDLE_S
    settings.queueing.exit_timeout = 0.5
    # kopf drops a policy that is deleted while its timer is busy after a second, not a minute.
    settings.background.cancellation_polling = 1.0
    # kopf can hang during its shutdown: if a watch fails while another one logs in, the other waits
    # for ever. After this time kopf kills the process, so that it is restarted.
    settings.process.ultimate_exiting_timeout = _END_AT_LAST_S
    return settings


class _NoProgress(kopf.ProgressStorage):
    """A progress storage that stores nothing: kopf writes no annotations about its handlers.

    None of our handlers is resumed, so none is needed. kopf would also annotate a deleted object
    whose timer is busy, to check the timer again a second later. That is a PATCH of a deleted
    object, which the operator may not make.
    """

    def fetch(self, *, key: Any, body: kopf.Body) -> kopf.ProgressRecord | None:
        """Return None: nothing is stored."""
        return None

    def store(
        self, *, key: Any, record: kopf.ProgressRecord, body: kopf.Body, patch: kopf.Patch
    ) -> None:
        """Store nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Remove nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Write nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return the essence unchanged."""
        return essence


class _NoDiffs(kopf.DiffBaseStorage):
    """A diff-base storage that stores nothing: no handler of ours compares old and new objects.

    kopf's default copies each object at each event, which took a tenth of the operator's CPU time.
    """

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Return an empty essence."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return None: nothing is stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Store nothing."""


class _ForeverBackoffs:
    """An infinite sequence of back-off seconds between kopf's attempts to reach the API server.

    After the last one kopf and its watchers give up. It must not exit because the API server is
    down for an hour: the process would be restarted, lose its memory, and try the same.
    """

    def __iter__(self) -> Any:
        yield from (0.2, 0.5, 1.0, 1.0, 2.0)
        while True:
            yield 3.0


def register_login(
    registry: kopf.OperatorRegistry, *, server: str, open_session: OpenSession
) -> None:
    """Log kopf in with our own session; it logs in again when the server answers 401."""

    @kopf.on.login(registry=registry, id="login")
    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=server, aiohttp_session=await open_session())


def register_lifecycle(
    registry: kopf.OperatorRegistry,
    *,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> None:
    """Run `start` before anything is watched, and `stop` after the last event was handled.

    Our tasks have to be created and to end between the two: when kopf ends, it cancels every task
    of the loop that was created after its own.
    """

    @kopf.on.startup(registry=registry, id="start")
    async def on_startup(**_: Any) -> None:
        await start()

    @kopf.on.cleanup(registry=registry, id="stop")
    async def on_cleanup(**_: Any) -> None:
        await stop()
