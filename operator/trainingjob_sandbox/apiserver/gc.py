"""The garbage collector: deletes dependents of deleted owners, by their owner references.

It keeps an index of owners and dependents, updated by storage events, and never scans collections.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from trainingjob_sandbox.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions
from trainingjob_sandbox.apiserver.storage import CollectionId, Event, JsonObject, Key, Stored
from trainingjob_sandbox.apiserver.store import Store

MAX_DELETED_UIDS: Final = 10_000
"""Maximum deleted uids to remember, for dependents whose owner's kind no longer exists either."""


class ObjectRef(NamedTuple):
    """A reference to an object: its collection and key."""

    where: CollectionId
    key: Key


class GarbageCollector:
    """Handles owner references.

    Args:
        store: the objects.
        enqueue: queues a work item; equal items are queued once.
    """

    def __init__(
        self, store: Store, enqueue: Callable[[Callable[[Any], None], Any], None]
    ) -> None:
        self._store = store
        self._enqueue = enqueue
        self._refs: dict[str, ObjectRef] = {}
        self._dependents: dict[str, set[ObjectRef]] = {}
        self._deleted_uids: OrderedDict[str, None] = OrderedDict()

    def observe(self, where: CollectionId, event: Event) -> None:
        """Update the index with an event, and enqueue checks of the affected owners and dependents."""
        ref = ObjectRef(where, event.new.key)
        for owner in _owner_uids(event.old) - (
            set() if event.type == "DELETED" else _owner_uids(event.new)
        ):
            self._remove_dependent(owner, ref)
        if event.type == "DELETED":
            self._deleted(ref, event)
            return
        self._refs[event.new.uid] = ref
        for owner in _owner_uids(event.new):
            self._dependents.setdefault(owner, set()).add(ref)
            known = self._refs.get(owner)
            if known is None or known.key.namespace not in ("", ref.key.namespace):
                self._enqueue(self.check_dependent, ref)
        if {FOREGROUND, ORPHAN} & set(event.new.metadata.get("finalizers") or ()):
            self._enqueue(self.check_owner, ref)

    def _deleted(self, ref: ObjectRef, event: Event) -> None:
        uid = event.new.uid
        if self._refs.get(uid) == ref:
            del self._refs[uid]
            self._deleted_uids[uid] = None
            while len(self._deleted_uids) > MAX_DELETED_UIDS:
                self._deleted_uids.popitem(last=False)
        for dependent in self._dependents.get(uid, ()):
            self._enqueue(self.check_dependent, dependent)
        for owner in _owner_uids(event.new):
            if owner in self._refs:
                self._enqueue(self.check_owner, self._refs[owner])

    def _remove_dependent(self, owner: str, ref: ObjectRef) -> None:
        dependents = self._dependents.get(owner, set())
        dependents.discard(ref)
        if not dependents:
            self._dependents.pop(owner, None)

    def check_dependent(self, ref: ObjectRef) -> None:
        """Delete an object if no owner keeps it; else remove its references to deleted owners.

        An owner in foreground deletion does not keep its dependents.
        """
        stored = self._find(ref)
        if stored is None or stored.metadata.get("deletionTimestamp"):
            return
        owners = stored.metadata.get("ownerReferences") or []
        kept = [owner for owner in owners if self._keeps(owner, ref)]
        if kept == owners:
            return
        resource = self._store.registry.storage_resource(ref.where)
        if kept:
            self._store.update_unvalidated(
                resource, stored, _with_metadata(stored, ownerReferences=kept)
            )
            return
        namespace, name = ref.key
        self._store.delete(resource, name, namespace, DeleteOptions(uid=stored.uid))

    def check_owner(self, ref: ObjectRef) -> None:
        """Remove a terminating owner's gc finalizer: after orphaning, or when no dependent blocks it."""
        stored = self._find(ref)
        if stored is None or not stored.metadata.get("deletionTimestamp"):
            return
        finalizers = stored.metadata.get("finalizers") or []
        dependents = sorted(self._dependents.get(stored.uid, ()))
        if ORPHAN in finalizers:
            self._orphan(stored, dependents)
            self._release(ref, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent in dependents:
                self._enqueue(self.check_dependent, dependent)
            if not any(self._blocks(dependent, stored.uid) for dependent in dependents):
                self._release(ref, FOREGROUND)

    def _keeps(self, owner: JsonObject, dependent: ObjectRef) -> bool:
        """Return True if an owner exists, and is not in foreground deletion."""
        uid = owner.get("uid", "")
        ref = self._refs.get(uid)
        stored = None if ref is None else self._find(ref)
        if uid in self._deleted_uids:
            return False
        if stored is None or stored.key.namespace not in ("", dependent.key.namespace):
            # If the owner's kind is unknown, the owner may exist.
            kind = self._store.registry.by_kind(owner.get("apiVersion", ""), owner.get("kind", ""))
            return kind is None
        return FOREGROUND not in (stored.metadata.get("finalizers") or ())

    def _blocks(self, dependent: ObjectRef, owner: str) -> bool:
        stored = self._find(dependent)
        references = stored.metadata.get("ownerReferences") or () if stored else ()
        return any(
            reference.get("uid") == owner and reference.get("blockOwnerDeletion")
            for reference in references
        )

    def _orphan(self, owner: Stored, dependents: Iterable[ObjectRef]) -> None:
        for ref in dependents:
            stored = self._find(ref)
            if stored is not None:
                references = stored.metadata.get("ownerReferences") or []
                kept = [item for item in references if item.get("uid") != owner.uid]
                resource = self._store.registry.storage_resource(ref.where)
                self._store.update_unvalidated(
                    resource, stored, _with_metadata(stored, ownerReferences=kept)
                )

    def _release(self, ref: ObjectRef, finalizer: str) -> None:
        stored = self._find(ref)
        if stored is not None:
            kept = [name for name in stored.metadata.get("finalizers") or () if name != finalizer]
            resource = self._store.registry.storage_resource(ref.where)
            self._store.update_unvalidated(
                resource, stored, _with_metadata(stored, finalizers=kept)
            )

    def _find(self, ref: ObjectRef) -> Stored | None:
        collection = self._store.storage.collections.get(ref.where)
        return None if collection is None else collection.objects.get(ref.key)


def _owner_uids(stored: Stored | None) -> set[str]:
    owners = [] if stored is None else stored.metadata.get("ownerReferences") or []
    return {owner.get("uid", "") for owner in owners}


def _with_metadata(stored: Stored, **fields: list[Any]) -> JsonObject:
    """Return an object with some lists of its metadata replaced; empty lists are removed."""
    metadata = {**stored.metadata, **fields}
    return {**stored.obj, "metadata": {k: v for k, v in metadata.items() if v != []}}
