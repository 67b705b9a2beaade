"""The watch of one kind: every change of its objects goes to the intake, for as long as we run.

kopf could watch jobs and pods, but spends a task, a queue, causes and handlers on each event, and
these two have most of them. What is needed here is less: an event is decoded, handed on and
forgotten.

A watch goes on from the version at which it broke, and then misses nothing. One that has no such
place begins at the version of a list: at the start that of the complete list that the index was
filled from, and after HTTP 410 that of a new one, of which only the version is read. What vanished
before that is never reported, so a comparison with complete lists is asked for once such a watch is
open: what that reads, and the watch, leave no gap.

Nothing ends this but its cancellation. What breaks is opened again, soon at first, then less often.
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
"""Seconds after which a watch has worked, though no event came."""

_RETRY: Final = Backoff(0.2, 5.0)
_KINDS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})

OnEvent = Callable[[str | None, dict[str, Any]], object]
"""Takes an object that was ADDED, MODIFIED or DELETED."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedKind:
    """A kind of objects.

    Attributes:
        what: its name in log lines.
        path: returns the path of the objects of a namespace, or of all (None).
        selector: the label that its objects have to have; "": none.
    """

    what: str
    path: Callable[[str | None], str]
    selector: str = ""


JOBS: Final = WatchedKind("jobs", jobs_path)
PODS: Final = WatchedKind("pods", pods_path, LABEL_JOB_NAME)


class ObjectWatch:
    """The watches of a kind, one for each namespace that is served, or one for all.

    Bound: the namespaces that the settings name, for each the version where its watch goes on. Of
    the objects nothing is kept.
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
            kind: what is watched.
            client: opens watches.
            current_version: asks at which resourceVersion the objects of a namespace are now.
            namespaces: the namespaces to watch; None alone stands for all of them.
            listed_version: returns the version of the complete list of a namespace's objects that
                the index was filled from; "" if there was none.
            on_event: takes each event.
            on_relist: called when a watch was opened behind what has not been compared yet.
            clock: the time.
            on_missing: takes the path of a kind that is not served (any more); it is asked for again
                all the same.
            jitter: a number from 0 to 1 that parts the tries of many.
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
        self._places: Final[dict[str | None, str]] = {}  # versions; none: begin behind a list
        self._uncompared: Final[set[str | None]] = set()
        self._opened: Final[set[str | None]] = set()
        self._forbidden_lists: Final = ForbiddenLists(clock.monotonic)

    @property
    def has_begun(self) -> bool:
        """True if the objects of all namespaces have been watched."""
        return all(namespace in self._opened for namespace in self._namespaces)

    async def run(self) -> None:
        """Watch until cancelled."""
        for namespace in self._namespaces:
            self._places[namespace] = self._listed_version(namespace)
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
                self._say(namespace, error, is_first=failures == 0)
                if isinstance(error, GoneError):
                    self._places[namespace] = ""
                if isinstance(error, NotServedError):
                    self._on_missing(self._kind.path(namespace))
            lasted = self._clock.monotonic() - begun > _LASTED_S
            failures = 0 if lasted else failures + 1
            # The server ends each watch in the end. What ends it at once, again and again, is broken.
            if error is not None or failures:
                await asyncio.sleep(self._wait_s(failures, error))

    def _wait_s(self, failures: int, error: KubernetesError | None) -> float:
        asked_s = error.retry_after_s if isinstance(error, ThrottledError) else 0.0
        return asked_s + _RETRY.wait_s(failures) * (0.5 + self._jitter())

    async def _watch(self, namespace: str | None) -> None:
        """Watch once, until the server ends it.

        Raises:
            GoneError: the server does not know any more what happened since.
            NotServedError: it does not know the kind.
            KubernetesError: it broke, or cannot be opened.
        """
        if not self._places[namespace]:
            self._uncompared.add(namespace)
            self._places[namespace] = await self._current_version(namespace)
        query = {
            "allowWatchBookmarks": "true",
            "resourceVersion": self._places[namespace],
            "timeoutSeconds": str(int(_SERVER_TIMEOUT_S * (1 - self._jitter() / 2))),
        }
        if self._kind.selector:
            query["labelSelector"] = self._kind.selector
        async with self._client.watch(self._kind.path(namespace), query) as lines:
            self._note_open(namespace)
            async for line in lines:
                if line is None:  # the complete lists have it, in a page of its own
                    self._on_relist()
                else:
                    self._take_in(namespace, line)

    def _note_open(self, namespace: str | None) -> None:
        what = self._kind.what
        if self._forbidden_lists.note_allowed(what, namespace):
            _logger.info("the %s of %s can be watched now", what, _words(namespace))
        self._opened.add(namespace)
        if namespace in self._uncompared:
            self._uncompared.discard(namespace)
            self._on_relist()

    def _take_in(self, namespace: str | None, line: bytes) -> None:
        """Hand one event on, and remember its place.

        Raises:
            GoneError, UnavailableError: it says that the watch is over, or makes no sense. What
                came before it is known, and nothing of what comes behind.
        """
        what = self._kind.what
        try:
            event = json.loads(line)
            kind, raw = event["type"], as_dict(event["object"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._places[namespace] = ""
            raise UnavailableError(f"a watch of {what} brought what is no event") from error
        if kind in _KINDS:
            self._hand_on(kind, raw)
        elif kind == "ERROR":
            self._places[namespace] = ""
            message = as_str(raw.get("message")) or as_str(raw.get("reason"))
            failure = GoneError if raw.get("code") == _GONE else UnavailableError
            raise failure(f"a watch of {what} ended with an error: {message}")
        if version := as_str(as_dict(raw.get("metadata")).get("resourceVersion")):
            self._places[namespace] = version

    def _hand_on(self, kind: str, raw: dict[str, Any]) -> None:
        """Hand an object on. One that cannot be understood keeps none of the others away."""
        try:
            self._on_event(kind, raw)
        except Exception:
            name = as_str(as_dict(raw.get("metadata")).get("name"))
            _logger.exception(
                "cannot take in %s of the %s, which was %s", name, self._kind.what, kind
            )

    def _say(self, namespace: str | None, error: KubernetesError, *, is_first: bool) -> None:
        """Log why a watch broke: what is forbidden stays so, and is said now and then."""
        what, where = self._kind.what, _words(namespace)
        if isinstance(error, ForbiddenError):
            if self._forbidden_lists.note_forbidden(what, namespace):
                _logger.warning("cannot watch the %s of %s: %s", what, where, error)
        else:
            level = logging.INFO if is_first else logging.DEBUG
            _logger.log(level, "watching the %s of %s again: %s", what, where, error)


def _words(namespace: str | None) -> str:
    return "all namespaces" if namespace is None else f"namespace {namespace}"
