"""The garbage collector: objects go when those that own them are gone.

It keeps an index of who owns whom, fed by the events of the storage, and never scans.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from trainingjob_sandbox.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions
from trainingjob_sandbox.apiserver.storage import CollectionId, Event, JsonObject, Key, Stored
from trainingjob_sandbox.apiserver.store import Store

MAX_GONE: Final = 10_000
"""Ends that are remembered, for dependents whose owner's kind is no longer known either."""


class Place(NamedTuple):
    """The place of an object, across all collections."""

    where: CollectionId
    key: Key


class GarbageCollector:
    """Follows owner references.

    Args:
        store: the objects.
        enqueue: takes work to be done soon; the same work is done once.
    """

    def __init__(
        self, store: Store, enqueue: Callable[[Callable[[Any], None], Any], None]
    ) -> None:
        self._store = store
        self._enqueue = enqueue
        self._places: dict[str, Place] = {}
        self._dependents: dict[str, set[Place]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def observe(self, where: CollectionId, event: Event) -> None:
        """Keep the index, and see what an event means for owners and dependents."""
        place = Place(where, event.new.key)
        for owner in _owner_uids(event.old) - (
            set() if event.type == "DELETED" else _owner_uids(event.new)
        ):
            self._forget(owner, place)
        if event.type == "DELETED":
            self._deleted(place, event)
            return
        self._places[event.new.uid] = place
        for owner in _owner_uids(event.new):
            self._dependents.setdefault(owner, set()).add(place)
            known = self._places.get(owner)
            if known is None or known.key.namespace not in ("", place.key.namespace):
                self._enqueue(self.check_dependent, place)
        if {FOREGROUND, ORPHAN} & set(event.new.metadata.get("finalizers") or ()):
            self._enqueue(self.check_owner, place)

    def _deleted(self, place: Place, event: Event) -> None:
        uid = event.new.uid
        if self._places.get(uid) == place:
            del self._places[uid]
            self._gone[uid] = None
            while len(self._gone) > MAX_GONE:
                self._gone.popitem(last=False)
        for dependent in self._dependents.get(uid, ()):
            self._enqueue(self.check_dependent, dependent)
        for owner in _owner_uids(event.new):
            if owner in self._places:
                self._enqueue(self.check_owner, self._places[owner])

    def _forget(self, owner: str, place: Place) -> None:
        dependents = self._dependents.get(owner, set())
        dependents.discard(place)
        if not dependents:
            self._dependents.pop(owner, None)

    def check_dependent(self, place: Place) -> None:
        """Delete an object whose owners are all gone or waiting for it; else forget those."""
        stored = self._find(place)
        if stored is None or stored.metadata.get("deletionTimestamp"):
            return
        owners = stored.metadata.get("ownerReferences") or []
        kept = [owner for owner in owners if self._holds(owner, place)]
        if kept == owners:
            return
        resource = self._store.registry.stored(place.where)
        if kept:
            self._store.settle(resource, stored, _with_metadata(stored, ownerReferences=kept))
            return
        namespace, name = place.key
        self._store.delete(resource, name, namespace, DeleteOptions(uid=stored.uid))

    def check_owner(self, place: Place) -> None:
        """Let an owner go once its dependents are gone, or do not hold it, or are orphans."""
        stored = self._find(place)
        if stored is None or not stored.metadata.get("deletionTimestamp"):
            return
        finalizers = stored.metadata.get("finalizers") or []
        dependents = sorted(self._dependents.get(stored.uid, ()))
        if ORPHAN in finalizers:
            self._orphan(stored, dependents)
            self._release(place, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent in dependents:
                self._enqueue(self.check_dependent, dependent)
            if not any(self._blocks(dependent, stored.uid) for dependent in dependents):
                self._release(place, FOREGROUND)

    def _holds(self, owner: JsonObject, dependent: Place) -> bool:
        """Say whether an owner is there, and not itself waiting for its dependents to go."""
        uid = owner.get("uid", "")
        place = self._places.get(uid)
        stored = None if place is None else self._find(place)
        if uid in self._gone:
            return False
        if stored is None or stored.key.namespace not in ("", dependent.key.namespace):
            # Of an unknown kind one cannot say that the owner is gone.
            kind = self._store.registry.of_kind(owner.get("apiVersion", ""), owner.get("kind", ""))
            return kind is None
        return FOREGROUND not in (stored.metadata.get("finalizers") or ())

    def _blocks(self, dependent: Place, owner: str) -> bool:
        stored = self._find(dependent)
        references = stored.metadata.get("ownerReferences") or () if stored else ()
        return any(
            reference.get("uid") == owner and reference.get("blockOwnerDeletion")
            for reference in references
        )

    def _orphan(self, owner: Stored, dependents: Iterable[Place]) -> None:
        for place in dependents:
            stored = self._find(place)
            if stored is not None:
                references = stored.metadata.get("ownerReferences") or []
                kept = [item for item in references if item.get("uid") != owner.uid]
                resource = self._store.registry.stored(place.where)
                self._store.settle(resource, stored, _with_metadata(stored, ownerReferences=kept))

    def _release(self, place: Place, finalizer: str) -> None:
        stored = self._find(place)
        if stored is not None:
            kept = [name for name in stored.metadata.get("finalizers") or () if name != finalizer]
            resource = self._store.registry.stored(place.where)
            self._store.settle(resource, stored, _with_metadata(stored, finalizers=kept))

    def _find(self, place: Place) -> Stored | None:
        collection = self._store.storage.collections.get(place.where)
        return None if collection is None else collection.objects.get(place.key)


def _owner_uids(stored: Stored | None) -> set[str]:
    owners = [] if stored is None else stored.metadata.get("ownerReferences") or []
    return {owner.get("uid", "") for owner in owners}


def _with_metadata(stored: Stored, **fields: list[Any]) -> JsonObject:
    """Return an object with some lists of its metadata replaced; empty ones go."""
    metadata = {**stored.metadata, **fields}
    return {**stored.obj, "metadata": {k: v for k, v in metadata.items() if v != []}}
