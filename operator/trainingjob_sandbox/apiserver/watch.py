"""Watches: a stream of changes, from a revision of the past or from now on.

Each watcher has a queue of its own that has an end: one that does not read is disconnected, and
lists again, instead of being remembered for.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Final

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.clock import now
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.selectors import Matcher
from trainingjob_sandbox.apiserver.storage import (
    Collection,
    Event,
    EventType,
    JsonObject,
    Storage,
    Stored,
    encode,
)
from trainingjob_sandbox.apiserver.tables import table

MAX_PENDING: Final = 10_000
"""Events that wait for one watcher at most."""

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The objects that a client wants to watch.

    Attributes:
        selected: which objects.
        revision: since when; 0: from now on, after everything that is there.
        timeout_s: when the server ends the watch.
        bookmark_interval_s: how often it says how far it is; None: never.
        initial_events_end: whether it says when everything that was there has been sent.
        as_table: whether objects come as tables.
        include: how much of an object goes with a table.
    """

    selected: Matcher
    revision: int
    timeout_s: float
    bookmark_interval_s: float | None
    initial_events_end: bool = False
    as_table: bool = False
    include: str = "Metadata"


class Subscription:
    """The queue between a collection and one watcher."""

    def __init__(self, collection: Collection, limit: int = MAX_PENDING) -> None:
        self._collection = collection
        self._limit = limit
        self._pending: deque[Event] = deque()
        self._wake = asyncio.Event()
        self.ended = False
        collection.subscribers.add(self)

    def offer(self, event: Event) -> None:
        """Queue an event; one too many ends the watch."""
        if self.ended:
            return
        if len(self._pending) >= self._limit:
            self._pending.clear()
            self.end()
            return
        self._pending.append(event)
        self._wake.set()

    def end(self) -> None:
        """Expect no more than what is queued."""
        self.ended = True
        self._wake.set()

    def close(self) -> None:
        """Leave the collection."""
        self._collection.subscribers.discard(self)

    async def take(self, timeout_s: float) -> list[Event]:
        """Wait for events and return all there are; none if the time is over or the watch ended."""
        if not self._pending and not self.ended:
            # What came at the very moment of the time-out is returned all the same: a bookmark
            # must not overtake it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)
        self._wake.clear()
        taken = list(self._pending)
        self._pending.clear()
        return taken


class Watch:
    """One watch, as lines of JSON.

    Args:
        storage: where changes happen.
        resource: what is watched.
        options: how.
    """

    def __init__(self, storage: Storage, resource: Resource, options: WatchOptions) -> None:
        self._storage = storage
        self._resource = resource
        self._options = options
        self._headings = True

    async def lines(self) -> AsyncGenerator[bytes]:
        """Yield what to send, several lines at once where there are several."""
        options, loop = self._options, asyncio.get_running_loop()
        collection = self._storage.collection(self._resource.where)
        subscription = Subscription(collection)
        try:
            # From here to the first `await` nothing can change, so nothing is missed or seen twice.
            oldest = self._storage.oldest(self._resource.where)
            if 0 < options.revision < oldest:
                yield _error(errors.too_old(options.revision, oldest))
                return
            yield self._start(collection)
            end = loop.time() + options.timeout_s
            interval = options.bookmark_interval_s
            due = loop.time() + interval if interval is not None else end
            while loop.time() < end:
                events = await subscription.take(max(min(due, end) - loop.time(), 0))
                if events:
                    yield b"".join(line for event in events for line in self._show(event))
                elif subscription.ended:
                    break
                elif interval is not None and loop.time() >= min(due, end):
                    # Only with nothing pending is everything up to this revision delivered.
                    due = loop.time() + interval
                    yield self._bookmark()
        finally:
            subscription.close()

    def _start(self, collection: Collection) -> bytes:
        """Return what comes first: what is there, or what has happened since."""
        if self._options.revision:
            missed = collection.since(self._options.revision)
            return b"".join(line for event in missed for line in self._show(event))
        there = [
            self._line("ADDED", stored)
            for stored in collection.sorted()
            if self._options.selected(stored.obj)
        ]
        if self._options.initial_events_end:
            there.append(self._bookmark({INITIAL_EVENTS_END: "true"}))
        return b"".join(there)

    def _show(self, event: Event) -> Iterator[bytes]:
        """Say what an event is to someone who sees the selected objects only."""
        selected = self._options.selected
        before = event.old is not None and selected(event.old.obj)
        after = event.type != "DELETED" and selected(event.new.obj)
        type_: EventType
        if not before and not after:
            return
        if after:
            type_, shown = ("MODIFIED" if before else "ADDED"), event.new
        else:
            type_, shown = "DELETED", (event.new if event.type == "DELETED" else event.left)
        if self._options.as_table or self._resource.view is not None:
            yield self._line(type_, shown)
        else:
            yield event.line(type_, shown)

    def _line(self, type_: EventType, shown: Stored) -> bytes:
        view = self._resource.view
        if self._options.as_table:
            return encode({"type": type_, "object": self._table(shown)}) + b"\n"
        if view is not None:
            return encode({"type": type_, "object": view.encode(shown.obj)}) + b"\n"
        return b'{"type":"%s","object":%s}\n' % (type_.encode(), shown.encoded)

    def _table(self, shown: Stored) -> JsonObject:
        headings, self._headings = self._headings, False
        return table(
            self._resource,
            [shown.obj],
            metadata={"resourceVersion": str(shown.revision)},
            now=now(),
            include=self._options.include,
            headings=headings,
        )

    def _bookmark(self, annotations: JsonObject | None = None) -> bytes:
        metadata: JsonObject = {"resourceVersion": str(self._storage.revision)}
        if annotations:
            metadata["annotations"] = annotations
        identity = self._resource.identity
        obj: JsonObject = {
            "kind": identity.kind,
            "apiVersion": identity.api_version,
            "metadata": metadata,
        }
        if self._options.as_table:
            obj = table(self._resource, [], metadata=metadata, now=now(), headings=False)
        return encode({"type": "BOOKMARK", "object": obj}) + b"\n"


def _error(error: ApiError) -> bytes:
    """Return a refusal as an event, for a watcher whose answer has begun."""
    return encode({"type": "ERROR", "object": error.status}) + b"\n"
