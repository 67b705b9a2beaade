"""Runs the controllers of a real cluster asynchronously, on one work queue.

They delete dependents of deleted owners, the contents of terminating namespaces, and the instances
of deleted CRDs. They also update quota usage, and delete old events. Storage events enqueue work,
and it is done in small slices, so that the deletion of a thousand objects does not block the server.
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
"""Work items done before the event loop runs other tasks."""

MAX_EVENTS: Final = 10_000
"""Maximum stored events; then the oldest tenth is deleted. A real server keeps them for an hour."""

Defer = Callable[[Callable[[], None]], object]
"""Schedules a function, such as an event loop's `call_soon`."""


class Controllers:
    """All controllers, on one work queue.

    Args:
        store: the objects.
        defer: schedules a function.
    """

    def __init__(self, store: Store, defer: Defer) -> None:
        self._store = store
        self._defer = defer
        # A dict, because it keeps the order and holds each work item once.
        self._work: dict[tuple[Callable[[Any], None], Any], None] = {}
        self._scheduled = False
        self._limited: set[str] = set()
        self.gc = GarbageCollector(store, self.enqueue)
        store.storage.observers.append(self._observe)

    def __len__(self) -> int:
        return len(self._work)

    def enqueue(self, step: Callable[[Any], None], argument: Any) -> None:
        """Queue a work item; an equal item is queued only once."""
        self._work[step, argument] = None
        if not self._scheduled:
            self._scheduled = True
            self._defer(self._run)

    def run_all(self) -> None:
        """Do all queued work now, including the work that it enqueues."""
        while self._work:
            self._run_slice()
        self._scheduled = False

    def _run(self) -> None:
        self._scheduled = False
        self._run_slice()
        if self._work and not self._scheduled:
            self._scheduled = True
            self._defer(self._run)

    def _run_slice(self) -> None:
        for work in tuple(self._work)[:SLICE]:
            del self._work[work]
            step, argument = work
            try:
                step(argument)
            except ApiError:
                # Deleted or changed in the meantime: the event of that change queues it again.
                continue

    def _observe(self, where: CollectionId, event: Event) -> None:
        self.gc.observe(where, event)
        namespace = event.new.key.namespace
        if where == builtin.CRDS:
            self._crd_changed(event)
        elif where == builtin.EVENTS and event.type == "ADDED":
            if len(self._store.storage.collection(where).objects) > MAX_EVENTS:
                self.enqueue(self._delete_old_events, where)
        elif where == builtin.QUOTAS:
            self._limited.add(namespace)
        elif where == builtin.NAMESPACES and event.type != "DELETED":
            self._delete_contents_if_terminating(event.new.key.name)
        if namespace in self._limited:
            self.enqueue(self._store.quotas.refresh, namespace)
        if event.type == "DELETED":
            if namespace:
                self._delete_contents_if_terminating(namespace)
            if where in self._terminating_crds():
                self.enqueue(self._delete_instances, where)

    # --- namespaces ----------------------------------------------------------------------------

    def _delete_contents_if_terminating(self, name: str) -> None:
        stored = self._store.storage.collection(builtin.NAMESPACES).objects.get(Key("", name))
        if stored is not None and stored.metadata.get("deletionTimestamp"):
            self.enqueue(self._delete_contents, name)

    def _delete_contents(self, name: str) -> None:
        """Delete the contents of a terminating namespace, and then the namespace."""
        left = False
        for resource in self._store.registry:
            if resource.namespaced and resource.conversion is None:
                left |= self._delete_all(resource, name)
        if left:
            return
        namespaces = self._store.storage.collection(builtin.NAMESPACES).objects
        stored = namespaces.get(Key("", name))
        if stored is not None and not stored.metadata.get("finalizers"):
            self._store.storage.remove(builtin.NAMESPACES, stored.key)

    def _delete_all(self, resource: Resource, namespace: str | None) -> bool:
        """Delete all objects of a resource; return True if some still exist."""
        collection = self._store.storage.collection(resource.collection_id)
        for stored in collection.sorted(namespace):
            if not stored.metadata.get("deletionTimestamp"):
                key = stored.key
                options = DeleteOptions(uid=stored.uid)
                self._store.delete(resource, key.name, key.namespace, options)
        return bool(collection.sorted(namespace))

    # --- events --------------------------------------------------------------------------------

    def _delete_old_events(self, where: CollectionId) -> None:
        """Delete the oldest events, down to nine tenths of the limit."""
        objects = self._store.storage.collection(where).objects
        too_many = max(len(objects) - MAX_EVENTS * 9 // 10, 0)
        for key in list(islice(objects, too_many)):
            self._store.storage.remove(where, key)

    # --- CRDs ----------------------------------------------------------------------------------

    def _crd_changed(self, event: Event) -> None:
        """Register the resources of a CRD at once, because the client's next request may need them."""
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
            self.enqueue(self._delete_instances, where)

    def _terminating_crds(self) -> set[CollectionId]:
        definitions = self._store.storage.collection(builtin.CRDS).objects.values()
        return {
            _defined(stored) for stored in definitions if stored.metadata.get("deletionTimestamp")
        }

    def _delete_instances(self, where: CollectionId) -> None:
        """Delete the instances of a terminating CRD, and then remove its finalizer."""
        definitions = self._store.storage.collection(builtin.CRDS).objects
        stored = definitions.get(Key("", f"{where.plural}.{where.group}"))
        if stored is None or self._delete_all(self._store.registry.storage_resource(where), None):
            return
        kept = [
            name for name in stored.metadata.get("finalizers") or () if name != CLEANUP_FINALIZER
        ]
        metadata = {**stored.metadata, "finalizers": kept}
        resource = self._store.registry.storage_resource(builtin.CRDS)
        self._store.update_unvalidated(resource, stored, {**stored.obj, "metadata": metadata})


def _defined(crd: Stored) -> CollectionId:
    spec = crd.obj["spec"]
    return CollectionId(spec["group"], spec["names"]["plural"])
