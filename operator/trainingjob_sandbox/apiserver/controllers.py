"""The consequences of a write, a moment later, as from the controllers of a real cluster.

Owned objects go with their owners, namespaces are emptied, definitions take their objects along,
quotas are counted, old events are forgotten. Work is queued by the storage's events and done in small slices, so that the
deletion of a thousand objects does not hold up the server.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from trainingjob_sandbox.apiserver import builtin
from trainingjob_sandbox.apiserver.crds import CLEANUP_FINALIZER, resources_of
from trainingjob_sandbox.apiserver.deletion import DeleteOptions
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.gc import GarbageCollector
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.storage import CollectionId, Event, Key, Stored
from trainingjob_sandbox.apiserver.store import Store

SLICE: Final = 100
"""Pieces of work done before others get their turn."""

MAX_EVENTS: Final = 10_000
"""Events that are kept; the oldest tenth goes at once. A real server keeps them for an hour."""

Defer = Callable[[Callable[[], None]], object]
"""Takes a function to be called soon, such as a loop's `call_soon`."""


class Controllers:
    """All controllers, on one queue.

    Args:
        store: the objects.
        defer: how to be called again soon.
    """

    def __init__(self, store: Store, defer: Defer) -> None:
        self._store = store
        self._defer = defer
        # A dictionary keeps the order and each piece of work once.
        self._work: dict[tuple[Callable[[Any], None], Any], None] = {}
        self._scheduled = False
        self._limited: set[str] = set()
        self.gc = GarbageCollector(store, self.enqueue)
        store.storage.observers.append(self._observe)

    def __len__(self) -> int:
        return len(self._work)

    def enqueue(self, step: Callable[[Any], None], argument: Any) -> None:
        """Do a piece of work soon, once."""
        self._work[step, argument] = None
        if not self._scheduled:
            self._scheduled = True
            self._defer(self._run)

    def run_all(self) -> None:
        """Do everything that is to be done, and what follows from it, now."""
        while self._work:
            self._slice()
        self._scheduled = False

    def _run(self) -> None:
        self._scheduled = False
        self._slice()
        if self._work and not self._scheduled:
            self._scheduled = True
            self._defer(self._run)

    def _slice(self) -> None:
        for work in tuple(self._work)[:SLICE]:
            del self._work[work]
            step, argument = work
            try:
                step(argument)
            except ApiError:
                # Gone or changed in the meantime: the event of that change brings it up again.
                continue

    def _observe(self, where: CollectionId, event: Event) -> None:
        self.gc.observe(where, event)
        namespace = event.new.key.namespace
        if where == builtin.CRDS:
            self._definition_changed(event)
        elif where == builtin.EVENTS and event.type == "ADDED":
            if len(self._store.storage.collection(where).objects) > MAX_EVENTS:
                self.enqueue(self._forget_events, where)
        elif where == builtin.QUOTAS:
            self._limited.add(namespace)
        elif where == builtin.NAMESPACES and event.type != "DELETED":
            self._empty_if_terminating(event.new.key.name)
        if namespace in self._limited:
            self.enqueue(self._store.quotas.refresh, namespace)
        if event.type == "DELETED":
            if namespace:
                self._empty_if_terminating(namespace)
            if where in self._dying_definitions():
                self.enqueue(self._clean_up, where)

    # --- namespaces ----------------------------------------------------------------------------

    def _empty_if_terminating(self, name: str) -> None:
        stored = self._store.storage.collection(builtin.NAMESPACES).objects.get(Key("", name))
        if stored is not None and stored.metadata.get("deletionTimestamp"):
            self.enqueue(self._empty, name)

    def _empty(self, name: str) -> None:
        """Delete what is in a namespace; end the namespace once nothing is."""
        left = False
        for resource in self._store.registry:
            if resource.namespaced and resource.view is None:
                left |= self._delete_all(resource, name)
        if left:
            return
        namespaces = self._store.storage.collection(builtin.NAMESPACES).objects
        stored = namespaces.get(Key("", name))
        if stored is not None and not stored.metadata.get("finalizers"):
            self._store.storage.remove(builtin.NAMESPACES, stored.key)

    def _delete_all(self, resource: Resource, namespace: str | None) -> bool:
        """Ask for the deletion of all objects of a kind; say whether some are still there."""
        collection = self._store.storage.collection(resource.where)
        for stored in collection.sorted(namespace):
            if not stored.metadata.get("deletionTimestamp"):
                key = stored.key
                options = DeleteOptions(uid=stored.uid)
                self._store.delete(resource, key.name, key.namespace, options)
        return bool(collection.sorted(namespace))

    # --- events --------------------------------------------------------------------------------

    def _forget_events(self, where: CollectionId) -> None:
        """Remove the events that were created first, down to nine tenths of the limit."""
        objects = self._store.storage.collection(where).objects
        too_many = max(len(objects) - MAX_EVENTS * 9 // 10, 0)
        for key in list(islice(objects, too_many)):
            self._store.storage.remove(where, key)

    # --- definitions ---------------------------------------------------------------------------

    def _definition_changed(self, event: Event) -> None:
        """Serve what a definition defines at once: its author's next request may need it."""
        where = _defined(event.new)
        if event.type == "DELETED":
            self._store.registry.remove(where)
            self._store.storage.drop(where)
            return
        if event.old is None or event.old.obj["spec"] != event.new.obj["spec"]:
            self._store.registry.remove(where)
            for resource in resources_of(event.new.obj):
                self._store.registry.add(resource)
        if CLEANUP_FINALIZER in (event.new.metadata.get("finalizers") or ()):
            self.enqueue(self._clean_up, where)

    def _dying_definitions(self) -> set[CollectionId]:
        definitions = self._store.storage.collection(builtin.CRDS).objects.values()
        return {
            _defined(stored) for stored in definitions if stored.metadata.get("deletionTimestamp")
        }

    def _clean_up(self, where: CollectionId) -> None:
        """Delete the objects of a dying definition; let it go once there are none."""
        definitions = self._store.storage.collection(builtin.CRDS).objects
        stored = definitions.get(Key("", f"{where.plural}.{where.group}"))
        if stored is None or self._delete_all(self._store.registry.stored(where), None):
            return
        kept = [
            name for name in stored.metadata.get("finalizers") or () if name != CLEANUP_FINALIZER
        ]
        metadata = {**stored.metadata, "finalizers": kept}
        resource = self._store.registry.stored(builtin.CRDS)
        self._store.settle(resource, stored, {**stored.obj, "metadata": metadata})


def _defined(crd: Stored) -> CollectionId:
    spec = crd.obj["spec"]
    return CollectionId(spec["group"], spec["names"]["plural"])
