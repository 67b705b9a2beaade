"""kopf's settings, its log-in, and the moments at which our own parts start and stop."""

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
"""Opens a session that may talk to the API server, with a token that is good now."""


def operator_settings(*, clusterwide: bool) -> kopf.OperatorSettings:
    """Return kopf's settings, each set explicitly and for a reason.

    Args:
        clusterwide: whether all namespaces are watched, not just some that are named.
    """
    settings = kopf.OperatorSettings()
    # kopf follows namespaces and CRDs as they come and go, which takes rights in the whole cluster.
    # An operator of some named namespaces has none there, and is content with what it was told.
    settings.scanning.disabled = not clusterwide
    settings.posting.enabled = False  # our own recorder is bounded and merges
    # kopf takes the finalizer that it is told is its own off each object which no handler needs it
    # for, and none does. That is a PATCH, for which the operator has no right: no object has this one.
    settings.persistence.finalizer = f"{GROUP}/none"
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.watching.chunk_size = _LIST_PAGE
    # A watch that is silently dead is noticed by missing bookmarks after 70 s (kopf's default);
    # the server ends every watch after ten minutes all the same. A whole number: it is sent.
    settings.watching.server_timeout = _SERVER_TIMEOUT_S
    settings.networking.request_timeout = _REQUEST_TIMEOUT_S
    settings.networking.error_backoffs = _ForeverBackoffs()
    # kopf holds a task for each object that had an event, with the event itself, until it has been
    # idle for so long. At a start every policy is one: where each namespace has one, thousands were
    # held at once, and left the process larger for good.
    # No worker_limit: a slot is held until its worker idles, and our own queue bounds the work.
    settings.queueing.idle_timeout = _WORKER_IDLE_S
    settings.queueing.exit_timeout = 0.5
    # A policy that is deleted while its timer is busy leaves kopf after a second, not a minute.
    settings.background.cancellation_polling = 1.0
    # kopf can hang at its end: a watch that fails while another one logs in leaves that one waiting
    # for an answer that nobody gives. A process that does nothing must not live; it kills itself.
    settings.process.ultimate_exiting_timeout = _END_AT_LAST_S
    return settings


class _NoProgress(kopf.ProgressStorage):
    """kopf's notes about its handlers, in annotations of the object: none.

    No handler of ours is resumed. And kopf annotates an object whose timer is busy when the object
    is deleted, to look at the timer again a second later: a PATCH of what is gone, with a right
    that the operator does not have.
    """

    def fetch(self, *, key: Any, body: kopf.Body) -> kopf.ProgressRecord | None:
        """Nothing was stored."""
        return None

    def store(
        self, *, key: Any, record: kopf.ProgressRecord, body: kopf.Body, patch: kopf.Patch
    ) -> None:
        """Nothing is written."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is to be removed."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing is written to be called again."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Nothing was added."""
        return essence


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf's memory of what an object looked like: none, as no handler of ours compares.

    Its own copies every object whole at every event, which was a tenth of the operator's time.
    """

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Nothing of an object is of essence."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Nothing was stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is written."""


class _ForeverBackoffs:
    """Seconds between kopf's tries to reach the API server, without an end.

    kopf gives up after the last one, and its watchers with it. An API server that is down for an
    hour is no reason for kopf to exit: the process would only be restarted, forget, and try the same.
    """

    def __iter__(self) -> Any:
        yield from (0.2, 0.5, 1.0, 1.0, 2.0)
        while True:
            yield 3.0


def register_login(
    registry: kopf.OperatorRegistry, *, server: str, open_session: OpenSession
) -> None:
    """Let kopf in through our own session; it asks for another one when the server answers 401."""

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

    Our tasks have to be born and to end inside: when kopf leaves, it cancels every task of its
    loop that is younger than itself.
    """

    @kopf.on.startup(registry=registry, id="start")
    async def on_startup(**_: Any) -> None:
        await start()

    @kopf.on.cleanup(registry=registry, id="stop")
    async def on_cleanup(**_: Any) -> None:
        await stop()
