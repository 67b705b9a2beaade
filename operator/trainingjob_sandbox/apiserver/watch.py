"""Serves watches: streams events from a given revision, or the current objects and then new events.

Each watcher has a bounded queue. A watcher that does not read is disconnected when its queue is
full, and has to list again.
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
"""Maximum queued events of one watcher."""

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The options of a watch request.

    Attributes:
        matcher: selects the objects.
        revision: the start revision; 0: send the current objects first.
        timeout_s: the server ends the watch after this time.
        bookmark_interval_s: seconds between bookmarks; None: no bookmarks.
        initial_events_end: True to send a bookmark after the current objects.
        as_table: True to send objects as tables.
        include: the part of each object that a table includes.
    """

    matcher: Matcher
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

    def publish(self, event: Event) -> None:
        """Queue an event; if the queue is full, end the watch."""
        if self.ended:
            return
        if len(self._pending) >= self._limit:
            self._pending.clear()
            self.end()
            return
        self._pending.append(event)
        self._wake.set()

    def end(self) -> None:
        """End the watch after the queued events."""
        self.ended = True
        self._wake.set()

    def close(self) -> None:
        """Unsubscribe from the collection."""
        self._collection.subscribers.discard(self)

    async def take(self, timeout_s: float) -> list[Event]:
        """Wait for events, and return all queued ones; none after the timeout or the end of the watch."""
        if not self._pending and not self.ended:
            # An event that arrives just at the timeout is still returned: a bookmark must not
            # overtake it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)
        self._wake.clear()
        taken = list(self._pending)
        self._pending.clear()
        return taken


class Watch:
    """One watch, as a stream of JSON lines.

    Args:
        storage: the storage of the objects.
        resource: the resource to watch.
        options: the options of the watch.
    """

    def __init__(self, storage: Storage, resource: Resource, options: WatchOptions) -> None:
        self._storage = storage
        self._resource = resource
        self._options = options
        self._headings = True

    async def lines(self) -> AsyncGenerator[bytes]:
        """Yield chunks of one or more lines."""
        options, loop = self._options, asyncio.get_running_loop()
        collection = self._storage.collection(self._resource.collection_id)
        subscription = Subscription(collection)
        try:
            # Nothing can change before the first `await`, so no event is missed or sent twice.
            oldest = self._storage.oldest_revision(self._resource.collection_id)
            if 0 < options.revision < oldest:
                yield _error(errors.too_old(options.revision, oldest))
                return
            yield self._initial_lines(collection)
            end = loop.time() + options.timeout_s
            interval = options.bookmark_interval_s
            due = loop.time() + interval if interval is not None else end
            while loop.time() < end:
                events = await subscription.take(max(min(due, end) - loop.time(), 0))
                if events:
                    yield b"".join(line for event in events for line in self._event_lines(event))
                elif subscription.ended:
                    break
                elif interval is not None and loop.time() >= min(due, end):
                    # The queue is empty, so every event up to this revision has been sent.
                    due = loop.time() + interval
                    yield self._bookmark()
        finally:
            subscription.close()

    def _initial_lines(self, collection: Collection) -> bytes:
        """Return the events since the start revision, or without one the current objects."""
        if self._options.revision:
            missed = collection.since(self._options.revision)
            return b"".join(line for event in missed for line in self._event_lines(event))
        lines = [
            self._line("ADDED", stored)
            for stored in collection.sorted()
            if self._options.matcher(stored.obj)
        ]
        if self._options.initial_events_end:
            lines.append(self._bookmark({INITIAL_EVENTS_END: "true"}))
        return b"".join(lines)

    def _event_lines(self, event: Event) -> Iterator[bytes]:
        """Yield the line of an event, with its type for a watcher of the selected objects; or nothing."""
        selected = self._options.matcher
        before = event.old is not None and selected(event.old.obj)
        after = event.type != "DELETED" and selected(event.new.obj)
        type_: EventType
        if not before and not after:
            return
        if after:
            type_, shown = ("MODIFIED" if before else "ADDED"), event.new
        else:
            type_, shown = (
                "DELETED",
                (event.new if event.type == "DELETED" else event.old_at_revision),
            )
        if self._options.as_table or self._resource.conversion is not None:
            yield self._line(type_, shown)
        else:
            yield event.line(type_, shown)

    def _line(self, type_: EventType, shown: Stored) -> bytes:
        conversion = self._resource.conversion
        if self._options.as_table:
            return encode({"type": type_, "object": self._table(shown)}) + b"\n"
        if conversion is not None:
            return encode({"type": type_, "object": conversion.to_served(shown.obj)}) + b"\n"
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
    """Return an API error as an ERROR event, for a watch whose response has begun."""
    return encode({"type": "ERROR", "object": error.status}) + b"\n"
