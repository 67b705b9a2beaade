"""Objects, one revision counter, and the events that follow from every change.

Nothing here knows what a pod is or what is allowed: that is `store.py`. An object that has been
stored is never changed in place, so readers, watchers and snapshots share it without copying, and
it is encoded as JSON at most once per revision.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple, Protocol

JsonObject = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

FIRST_REVISION: Final = 1


class Key(NamedTuple):
    """The place of an object within its collection.

    Attributes:
        namespace: empty for objects of the cluster.
        name: the object's name.
    """

    namespace: str
    name: str


class CollectionId(NamedTuple):
    """Name of a collection; several versions of one kind share it.

    Attributes:
        group: the API group, empty for the core.
        plural: the resource's name.
    """

    group: str
    plural: str


def encode(value: object) -> bytes:
    """Write JSON as it goes over the wire: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Stored:
    """An object at one revision.

    Attributes:
        obj: the object; read it, never change it.
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
        """The place of the object."""
        return Key(self.metadata.get("namespace", ""), self.metadata["name"])

    @property
    def uid(self) -> str:
        """The object's identity; a namesake has another."""
        return str(self.metadata.get("uid", ""))

    @property
    def encoded(self) -> bytes:
        """The object as JSON, made when first asked for."""
        if self._encoded is None:
            self._encoded = encode(self.obj)
        return self._encoded

    def at(self, revision: int) -> "Stored":
        """Return the same content as of another revision."""
        metadata = {**self.metadata, "resourceVersion": str(revision)}
        return Stored({**self.obj, "metadata": metadata}, revision)


class Event:
    """One change of one object.

    Attributes:
        type: what happened to the object, before any selector is applied.
        new: the object afterwards; of a deleted one, its last content at the event's revision.
        old: the object before, None when it is new.
    """

    __slots__ = ("_left", "_lines", "new", "old", "type")

    def __init__(self, type_: EventType, new: Stored, old: Stored | None) -> None:
        self.type = type_
        self.new = new
        self.old = old
        self._left: Stored | None = None
        self._lines: dict[EventType, bytes] = {}

    @property
    def revision(self) -> int:
        """The revision at which it happened."""
        return self.new.revision

    @property
    def left(self) -> Stored:
        """The object that a watcher is shown when the object leaves its selection: the last that matched."""
        if self._left is None:
            assert self.old is not None
            self._left = self.old.at(self.revision)
        return self._left

    def line(self, type_: EventType, shown: Stored) -> bytes:
        """Return the event as one line of a watch; made once, shared by all watchers."""
        line = self._lines.get(type_)
        if line is None:
            line = b'{"type":"%s","object":%s}\n' % (type_.encode(), shown.encoded)
            self._lines[type_] = line
        return line


class Subscriber(Protocol):
    """Someone who wants every event of a collection."""

    def offer(self, event: Event) -> None:
        """Take an event without waiting."""

    def end(self) -> None:
        """Expect no more: the collection is gone, or watchers are asked to leave."""


class Collection:
    """All objects of one kind and the latest changes to them.

    Attributes:
        objects: what is there now.
        history: the latest events, oldest first; at most `history` of them.
        forgotten: the highest revision whose event is no longer in the history.
        subscribers: those that get every event.
    """

    def __init__(self, history: int, forgotten: int = 0) -> None:
        self.objects: dict[Key, Stored] = {}
        self.history: deque[Event] = deque(maxlen=history)
        self.forgotten = forgotten
        self.subscribers: set[Subscriber] = set()

    def sorted(self, namespace: str | None = None) -> list[Stored]:
        """Return the objects, in one namespace or all, in the order of their keys."""
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
        """Remember an event and pass it to the subscribers."""
        if len(self.history) == self.history.maxlen:
            self.forgotten = self.history[0].revision
        self.history.append(event)
        for subscriber in tuple(self.subscribers):
            subscriber.offer(event)


Observer = Callable[[CollectionId, Event], None]


class Storage:
    """Every collection, under one revision counter.

    Args:
        history: how many events each collection remembers for watches that resume.
        first_revision: where to begin; whatever is older has been forgotten.
    """

    def __init__(self, history: int, first_revision: int = FIRST_REVISION) -> None:
        self.revision = first_revision
        self.compacted = first_revision
        self.collections: dict[CollectionId, Collection] = {}
        self.observers: list[Observer] = []
        self._history = history
        self._dropped: dict[CollectionId, int] = {}
        """When a collection was dropped that may come back. One entry for each kind there ever was."""

    def collection(self, where: CollectionId) -> Collection:
        """Return a collection, an empty one if it is new."""
        if where not in self.collections:
            # A watch from before the drop has missed the end of everything that was in it.
            self.collections[where] = Collection(self._history, self._dropped.pop(where, 0))
        return self.collections[where]

    def drop(self, where: CollectionId) -> None:
        """Forget a collection and end its watches."""
        collection = self.collections.pop(where, None)
        if collection is not None:
            self._dropped[where] = self.revision
            for subscriber in tuple(collection.subscribers):
                subscriber.end()

    def put(self, where: CollectionId, obj: JsonObject) -> Stored:
        """Store a new object or a new state of one; it belongs to the storage from now on."""
        revision = self._next()
        obj["metadata"]["resourceVersion"] = str(revision)
        new = Stored(obj, revision)
        objects = self.collection(where).objects
        old = objects.get(new.key)
        objects[new.key] = new
        self._publish(where, Event("ADDED" if old is None else "MODIFIED", new, old))
        return new

    def remove(self, where: CollectionId, key: Key) -> Stored:
        """Take an object away and return its last state at the revision of its end."""
        old = self.collection(where).objects.pop(key)
        new = old.at(self._next())
        self._publish(where, Event("DELETED", new, old))
        return new

    def compact(self) -> None:
        """Forget all history: a watch from before now starts over."""
        self.compacted = self.revision
        for collection in self.collections.values():
            collection.history.clear()

    def oldest(self, where: CollectionId) -> int:
        """Return the revision before which a watch of a collection cannot start."""
        return max(self.compacted, self.collection(where).forgotten)

    def _next(self) -> int:
        self.revision += 1
        return self.revision

    def _publish(self, where: CollectionId, event: Event) -> None:
        self.collection(where).publish(event)
        for observer in self.observers:
            observer(where, event)
