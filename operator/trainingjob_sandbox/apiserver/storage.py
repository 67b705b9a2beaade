"""Stores objects in collections with one revision counter (as etcd does), and publishes change events.

It has no rules of kinds; `store.py` has them. A stored object is never modified in place. So
readers, watchers and snapshots share it without copying, and it is encoded as JSON at most once per
revision.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple, Protocol

JsonObject = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

FIRST_REVISION: Final = 1


class Key(NamedTuple):
    """The key of an object within its collection.

    Attributes:
        namespace: the namespace; empty for cluster-scoped objects.
        name: the object's name.
    """

    namespace: str
    name: str


class CollectionId(NamedTuple):
    """The name of a collection, which all versions of a resource share.

    Attributes:
        group: the API group; empty for the core group.
        plural: the resource's plural name.
    """

    group: str
    plural: str


def encode(value: object) -> bytes:
    """Encode a value as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Stored:
    """An object at one revision.

    Attributes:
        obj: the object, which must not be modified.
        revision: its `resourceVersion` as a number.
    """

    __slots__ = ("_encoded", "obj", "revision")

    def __init__(self, obj: JsonObject, revision: int) -> None:
        self.obj = obj
        self.revision = revision
        self._encoded: bytes | None = None

    @property
    def metadata(self) -> JsonObject:
        """The object's metadata."""
        metadata: JsonObject = self.obj["metadata"]
        return metadata

    @property
    def key(self) -> Key:
        """The object's key."""
        return Key(self.metadata.get("namespace", ""), self.metadata["name"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.metadata.get("uid", ""))

    @property
    def encoded(self) -> bytes:
        """The object as JSON, encoded on first use and cached."""
        if self._encoded is None:
            self._encoded = encode(self.obj)
        return self._encoded

    def at(self, revision: int) -> "Stored":
        """Return the same content with another revision."""
        metadata = {**self.metadata, "resourceVersion": str(revision)}
        return Stored({**self.obj, "metadata": metadata}, revision)


class Event:
    """One change of one object.

    Attributes:
        type: the type of the change, before any selector is applied.
        new: the object after the change; after a deletion, its last content at the event's revision.
        old: the object before the change; None if it was created.
    """

    __slots__ = ("_lines", "_old_at_revision", "new", "old", "type")

    def __init__(self, type_: EventType, new: Stored, old: Stored | None) -> None:
        self.type = type_
        self.new = new
        self.old = old
        self._old_at_revision: Stored | None = None
        self._lines: dict[EventType, bytes] = {}

    @property
    def revision(self) -> int:
        """The revision of the change."""
        return self.new.revision

    @property
    def old_at_revision(self) -> Stored:
        """The old content at the event's revision, for DELETED events of objects that leave a selection."""
        if self._old_at_revision is None:
            assert self.old is not None
            self._old_at_revision = self.old.at(self.revision)
        return self._old_at_revision

    def line(self, type_: EventType, shown: Stored) -> bytes:
        """Return the event as one line of a watch; encoded once, and shared by all watchers."""
        line = self._lines.get(type_)
        if line is None:
            line = b'{"type":"%s","object":%s}\n' % (type_.encode(), shown.encoded)
            self._lines[type_] = line
        return line


class Subscriber(Protocol):
    """Receives every event of a collection."""

    def publish(self, event: Event) -> None:
        """Receive an event, without blocking."""

    def end(self) -> None:
        """End the subscription: the collection was dropped, or watches are to be closed."""


class Collection:
    """All objects of one resource, and a bounded history of their latest events.

    Attributes:
        objects: the current objects.
        history: the latest events, oldest first; at most `history` of them.
        evicted_revision: the highest revision whose event is no longer in the history.
        subscribers: receive every event.
    """

    def __init__(self, history: int, evicted_revision: int = 0) -> None:
        self.objects: dict[Key, Stored] = {}
        self.history: deque[Event] = deque(maxlen=history)
        self.evicted_revision = evicted_revision
        self.subscribers: set[Subscriber] = set()

    def sorted(self, namespace: str | None = None) -> list[Stored]:
        """Return the objects of one namespace, or of all, sorted by key."""
        chosen = self.objects.items()
        if namespace:
            return [stored for key, stored in sorted(chosen) if key.namespace == namespace]
        return [stored for _, stored in sorted(chosen)]

    def since(self, revision: int) -> Iterator[Event]:
        """Return the events after a revision, oldest first."""
        recent = []
        for event in reversed(self.history):
            if event.revision <= revision:
                break
            recent.append(event)
        return reversed(recent)

    def publish(self, event: Event) -> None:
        """Append an event to the history, and pass it to the subscribers."""
        if len(self.history) == self.history.maxlen:
            self.evicted_revision = self.history[0].revision
        self.history.append(event)
        for subscriber in tuple(self.subscribers):
            subscriber.publish(event)


Observer = Callable[[CollectionId, Event], None]


class Storage:
    """All collections, with one revision counter.

    Args:
        history: number of events that each collection keeps for watches that resume.
        first_revision: the first revision; older ones count as compacted.
    """

    def __init__(self, history: int, first_revision: int = FIRST_REVISION) -> None:
        self.revision = first_revision
        self.compacted = first_revision
        self.collections: dict[CollectionId, Collection] = {}
        self.observers: list[Observer] = []
        self._history = history
        self._dropped: dict[CollectionId, int] = {}
        """Revision at which each collection was dropped: the size is bounded by the resources ever defined."""

    def collection(self, where: CollectionId) -> Collection:
        """Return a collection; create it if it does not exist."""
        if where not in self.collections:
            # A watch from before the drop missed the deletions, so it must not resume (410).
            self.collections[where] = Collection(self._history, self._dropped.pop(where, 0))
        return self.collections[where]

    def drop(self, where: CollectionId) -> None:
        """Drop a collection and end its watches."""
        collection = self.collections.pop(where, None)
        if collection is not None:
            self._dropped[where] = self.revision
            for subscriber in tuple(collection.subscribers):
                subscriber.end()

    def put(self, where: CollectionId, obj: JsonObject) -> Stored:
        """Store a new object, or a new state of one; the caller must not modify `obj` afterwards."""
        revision = self._next()
        obj["metadata"]["resourceVersion"] = str(revision)
        new = Stored(obj, revision)
        objects = self.collection(where).objects
        old = objects.get(new.key)
        objects[new.key] = new
        self._publish(where, Event("ADDED" if old is None else "MODIFIED", new, old))
        return new

    def remove(self, where: CollectionId, key: Key) -> Stored:
        """Remove an object; return its last state at the revision of the removal."""
        old = self.collection(where).objects.pop(key)
        new = old.at(self._next())
        self._publish(where, Event("DELETED", new, old))
        return new

    def compact(self) -> None:
        """Clear all history: a watch from an earlier revision gets 410."""
        self.compacted = self.revision
        for collection in self.collections.values():
            collection.history.clear()

    def oldest_revision(self, where: CollectionId) -> int:
        """Return the oldest revision from which a watch of a collection can start."""
        return max(self.compacted, self.collection(where).evicted_revision)

    def _next(self) -> int:
        self.revision += 1
        return self.revision

    def _publish(self, where: CollectionId, event: Event) -> None:
        self.collection(where).publish(event)
        for observer in self.observers:
            observer(where, event)
