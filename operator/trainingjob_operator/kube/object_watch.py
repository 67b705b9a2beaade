"""Watches one kind of objects like an informer: delivers every event, resumes, re-lists after a 410.

kopf could watch jobs and pods, but it spends a task, a queue, causes and handlers on each event, and
these two kinds have most of the events. Here an event is only decoded, delivered and forgotten.

A watch that broke resumes from its last resourceVersion and misses nothing. A watch without one
begins at the version of a list: at the start, that of the complete list that filled the index; after
HTTP 410, that of a new list, of which only the version is read. Such a watch never reports objects
that were deleted before that version. So a resync (a comparison with complete lists) is requested
as soon as the watch is open; the resync and the watch together leave no gap.

Only cancellation ends this. A broken watch is opened again, with exponential back-off.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_api.constants import LABEL_JOB_NAME
from trainingjob_api.errors import (
    ForbiddenError,
    GoneError,
    KubernetesError,
    NotServedError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.backoff import Backoff
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.kube.forbidden_lists import ForbiddenLists
from trainingjob_operator.kube.gateway import jobs_path, pods_path
from trainingjob_operator.kube.watch_client import WatchClient

_GONE: Final = 410
_SERVER_TIMEOUT_S: Final = 600
_LASTED_S: Final = 5.0
"""Seconds after which a watch counts as successful, even without an event: the back-off is reset."""

_RETRY: Final = Backoff(0.2, 5.0)
_KINDS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})

OnEvent = Callable[[str | None, dict[str, Any]], object]
"""Receives the event type (ADDED, MODIFIED or DELETED) and the object."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedKind:
    """A kind of objects that can be watched.

    Attributes:
        what: the name of the kind in log lines.
        path: returns the URL path of the objects of a namespace, or of all namespaces (None).
        selector: label selector of the watched objects; "": all objects.
    """

    what: str
    path: Callable[[str | None], str]
    selector: str = ""


JOBS: Final = WatchedKind("jobs", jobs_path)
PODS: Final = WatchedKind("pods", pods_path, LABEL_JOB_NAME)


class ObjectWatch:
    """The watches of a kind, one for each namespace that is served, or one for all.

    Bound: the namespaces that the settings name, each with the resourceVersion at which its watch
    resumes. No object is kept.
    """

    def __init__(
        self,
        kind: WatchedKind,
        *,
        client: WatchClient,
        current_version: Callable[[str | None], Awaitable[str]],
        namespaces: Sequence[str | None],
        listed_version: Callable[[str | None], str],
        on_event: OnEvent,
        on_relist: Callable[[], object],
        clock: Clock,
        on_missing: Callable[[str], object] = lambda path: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            kind: the kind to watch.
            client: opens watches.
            current_version: reads the current resourceVersion of a namespace's objects.
            namespaces: the namespaces to watch; `[None]` for all namespaces.
            listed_version: returns the resourceVersion of the complete list of a namespace's objects
                that filled the index; "" if there was none.
            on_event: called with each event.
            on_relist: called when a resync is needed: a watch began at a list that no resync has
                compared with the index, or an event was too long to read.
            clock: the clock.
            on_missing: called with the path of a kind that is not, or no longer, served; the watch
                is retried all the same.
            jitter: returns a number from 0 to 1 that spreads the retries of many watches.
        """
        self._kind: Final = kind
        self._client: Final = client
        self._current_version: Final = current_version
        self._namespaces: Final = tuple(namespaces)
        self._listed_version: Final = listed_version
        self._on_event: Final = on_event
        self._on_relist: Final = on_relist
        self._clock: Final = clock
        self._on_missing: Final = on_missing
        self._jitter: Final = jitter
        self._versions: Final[dict[str | None, str]] = {}  # to resume from; "": begin at a list
        self._needs_resync: Final[set[str | None]] = set()
        self._opened: Final[set[str | None]] = set()
        self._forbidden_lists: Final = ForbiddenLists(clock.monotonic)

    @property
    def has_begun(self) -> bool:
        """True once a watch of every namespace has been opened."""
        return all(namespace in self._opened for namespace in self._namespaces)

    async def run(self) -> None:
        """Watch until cancelled."""
        for namespace in self._namespaces:
            self._versions[namespace] = self._listed_version(namespace)
        async with asyncio.TaskGroup() as watches:
            for namespace in self._namespaces:
                name = f"{self._kind.what}-watch {namespace}"
                watches.create_task(self._follow(namespace), name=name)

    async def _follow(self, namespace: str | None) -> None:
        failures = 0
        while True:
            begun, error = self._clock.monotonic(), None
            try:
                await self._watch(namespace)
            except KubernetesError as failure:
                error = failure
                self._log_failure(namespace, error, is_first=failures == 0)
                if isinstance(error, GoneError):
                    self._versions[namespace] = ""
                if isinstance(error, NotServedError):
                    self._on_missing(self._kind.path(namespace))
            lasted = self._clock.monotonic() - begun > _LASTED_S
            failures = 0 if lasted else failures + 1
            # The server ends every watch after a while. One that always ends at once is broken.
            if error is not None or failures:
                await asyncio.sleep(self._wait_s(failures, error))

    def _wait_s(self, failures: int, error: KubernetesError | None) -> float:
        asked_s = error.retry_after_s if isinstance(error, ThrottledError) else 0.0
        return asked_s + _RETRY.wait_s(failures) * (0.5 + self._jitter())

    async def _watch(self, namespace: str | None) -> None:
        """Watch once, until the server ends it.

        Raises:
            GoneError: the version is too old: the server no longer has the events since then.
            NotServedError: the server does not serve the kind.
            KubernetesError: the watch broke, or cannot be opened.
        """
        if not self._versions[namespace]:
            self._needs_resync.add(namespace)
            self._versions[namespace] = await self._current_version(namespace)
        query = {
            "allowWatchBookmarks": "true",
            "resourceVersion": self._versions[namespace],
            "timeoutSeconds": str(int(_SERVER_TIMEOUT_S * (1 - self._jitter() / 2))),
        }
        if self._kind.selector:
            query["labelSelector"] = self._kind.selector
        async with self._client.watch(self._kind.path(namespace), query) as lines:
            self._note_open(namespace)
            async for line in lines:
                if line is None:  # too long; a resync reads the object in a page of its own
                    self._on_relist()
                else:
                    self._handle_line(namespace, line)

    def _note_open(self, namespace: str | None) -> None:
        what = self._kind.what
        if self._forbidden_lists.note_allowed(what, namespace):
            _logger.info("the %s of %s can be watched now", what, _words(namespace))
        self._opened.add(namespace)
        if namespace in self._needs_resync:
            self._needs_resync.discard(namespace)
            self._on_relist()

    def _handle_line(self, namespace: str | None, line: bytes) -> None:
        """Deliver one event, and store its resourceVersion.

        Raises:
            GoneError, UnavailableError: the event is an error that ends the watch, or is not valid.
                All events before it were delivered, none after it will be.
        """
        what = self._kind.what
        try:
            event = json.loads(line)
            kind, raw = event["type"], as_dict(event["object"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._versions[namespace] = ""
            raise UnavailableError(
                f"a watch of {what} sent a line that is not an event"
            ) from error
        if kind in _KINDS:
            self._deliver(kind, raw)
        elif kind == "ERROR":
            self._versions[namespace] = ""
            message = as_str(raw.get("message")) or as_str(raw.get("reason"))
            failure = GoneError if raw.get("code") == _GONE else UnavailableError
            raise failure(f"a watch of {what} ended with an error: {message}")
        if version := as_str(as_dict(raw.get("metadata")).get("resourceVersion")):
            self._versions[namespace] = version

    def _deliver(self, kind: str, raw: dict[str, Any]) -> None:
        """Deliver an object. One that the handler fails on does not stop the others."""
        try:
            self._on_event(kind, raw)
        except Exception:
            name = as_str(as_dict(raw.get("metadata")).get("name"))
            _logger.exception(
                "cannot process %s of the %s, which was %s", name, self._kind.what, kind
            )

    def _log_failure(
        self, namespace: str | None, error: KubernetesError, *, is_first: bool
    ) -> None:
        """Log why a watch broke. A 403 is likely to stay, so its log lines are rate-limited."""
        what, where = self._kind.what, _words(namespace)
        if isinstance(error, ForbiddenError):
            if self._forbidden_lists.note_forbidden(what, namespace):
                _logger.warning("cannot watch the %s of %s: %s", what, where, error)
        else:
            level = logging.INFO if is_first else logging.DEBUG
            _logger.log(level, "watching the %s of %s again: %s", what, where, error)


def _words(namespace: str | None) -> str:
    return "all namespaces" if namespace is None else f"namespace {namespace}"
