"""Creates, replaces, patches and deletes objects as a Kubernetes API server does.

Everything is synchronous and happens in the server's event loop, so two writes never interleave.
What follows from a write later (garbage collection, emptying a namespace) is `controllers.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainingjob_sandbox.apiserver import admission, builtin, errors, metadata
from trainingjob_sandbox.apiserver.clock import in_seconds, now
from trainingjob_sandbox.apiserver.deletion import DeleteOptions, Deletion
from trainingjob_sandbox.apiserver.registry import Registry
from trainingjob_sandbox.apiserver.resources import Resource, copy_json
from trainingjob_sandbox.apiserver.storage import JsonObject, Key, Storage, Stored

Named = Resource | str
"""A resource, or its plural: `pods`, `widgets.example.dev`."""


@dataclass(slots=True)
class WriteOptions:
    """The options of a write.

    Attributes:
        dry_run: go through everything and store nothing.
        strict: refuse fields that the server does not know.
        repeated: fields that the body had more than once.
        unknown: receives the fields that were dropped.
    """

    dry_run: bool = False
    strict: bool = False
    repeated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class Store:
    """The objects of a cluster, with the rules that hold for them.

    Args:
        storage: where they are.
        registry: what there can be.
    """

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self.storage = storage
        self.registry = registry
        self.quotas = admission.Quotas(storage, registry)

    # --- reading ---------------------------------------------------------------------------

    def find(self, named: Named, name: str, namespace: str = "default") -> Stored:
        """Return an object as it is stored.

        Raises:
            ApiError: 404, there is none.
        """
        resource = self._resource(named)
        key = self._key(resource, namespace, name)
        stored = self.storage.collection(resource.where).objects.get(key)
        if stored is None:
            raise errors.not_found(resource.identity, name)
        return stored

    def get(self, named: Named, name: str, namespace: str = "default") -> JsonObject:
        """Return a copy of an object.

        Raises:
            ApiError: 404, there is none.
        """
        copied: JsonObject = copy_json(self.find(named, name, namespace).obj)
        return copied

    def list(self, named: Named, namespace: str | None = None) -> list[JsonObject]:
        """Return copies of the objects of one namespace, or of all, in the order of their names."""
        resource = self._resource(named)
        stored = self.storage.collection(resource.where).sorted(namespace)
        return [copy_json(item.obj) for item in stored]

    # --- writing ---------------------------------------------------------------------------

    def create(
        self,
        named: Named,
        obj: Mapping[str, Any],
        *,
        namespace: str | None = None,
        options: WriteOptions | None = None,
    ) -> JsonObject:
        """Create an object.

        Args:
            named: what it is.
            obj: the object; it is not changed.
            namespace: where to; by default where its metadata says, else `default`.
            options: how to take it.

        Returns:
            The object as it was stored; read it, do not change it.

        Raises:
            ApiError: 400, 403, 404, 409 or 422, as the real server answers.
        """
        resource, options = self._resource(named), options or WriteOptions()
        where = namespace or (obj.get("metadata") or {}).get("namespace") or "default"
        new = self._decode(resource, obj, options)
        meta = new["metadata"]
        strategy = resource.strategy
        if resource.has_status and strategy.status_keeps_metadata:
            new.pop("status", None)
        metadata.for_create(
            meta,
            namespace=where if resource.namespaced else "",
            now=now(),
            generation=strategy.has_generation,
        )
        strategy.prepare_create(new)
        if resource.namespaced:
            admission.check_namespace(self.storage, resource, where, meta.get("name", ""))
        self._validate(resource, new, None)
        name = meta["name"]
        self.quotas.check(resource, where, name)
        key = self._key(resource, where, name)
        if key in self.storage.collection(resource.where).objects:
            raise errors.already_exists(resource.identity, name)
        return new if options.dry_run else self.storage.put(resource.where, new).obj

    def replace(
        self,
        named: Named,
        obj: Mapping[str, Any],
        *,
        subresource: str = "",
        options: WriteOptions | None = None,
    ) -> JsonObject:
        """Replace an object, or only its status.

        With a `resourceVersion` or a `uid` in it, only if that is still the stored one.

        Returns:
            The object as it was stored; read it, do not change it.

        Raises:
            ApiError: 400, 404, 409 or 422, as the real server answers.
        """
        resource = self._resource(named)
        meta = obj.get("metadata") or {}
        old = self.find(resource, meta.get("name", ""), meta.get("namespace") or "default")
        uid = meta.get("uid")
        if uid and uid != old.uid:
            message = (
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
            )
            raise errors.conflict(resource.identity, old.key.name, message)
        return self._write(resource, old, obj, subresource, options or WriteOptions())

    def update(
        self,
        named: Named,
        name: str,
        change: Callable[[JsonObject], Mapping[str, Any]],
        *,
        namespace: str = "default",
        subresource: str = "",
        options: WriteOptions | None = None,
    ) -> JsonObject:
        """Replace an object by what a function makes of it, as a PATCH does.

        Args:
            named: what it is.
            name: which one.
            change: takes the stored object, which it must not change, and returns another.
            namespace: where it is.
            subresource: `status`, or nothing for the rest.
            options: how to take it.

        Raises:
            ApiError: 400, 404, 409 or 422, as the real server answers.
        """
        resource = self._resource(named)
        old = self.find(resource, name, namespace)
        return self._write(resource, old, change(old.obj), subresource, options or WriteOptions())

    def delete(
        self,
        named: Named,
        name: str,
        namespace: str = "default",
        options: DeleteOptions | None = None,
    ) -> Deletion:
        """Delete an object, or mark it as being deleted if something holds it.

        Raises:
            ApiError: 404, there is none; 409, a precondition does not hold.
        """
        resource, options = self._resource(named), options or DeleteOptions()
        old = self.find(resource, name, namespace)
        options.check(resource.identity, old)
        marked = self._mark(resource, old, options)
        gone = _is_released(resource, marked["metadata"])
        if options.dry_run:
            return Deletion(marked, gone=gone)
        # Of the kinds that end at once, no client sees that they were marked before.
        if marked != old.obj and (resource.strategy.graceful or not gone):
            marked = self.storage.put(resource.where, marked).obj
        if gone:
            self.storage.remove(resource.where, old.key)
        return Deletion(marked, gone=gone)

    def settle(self, resource: Resource, old: Stored, obj: JsonObject) -> JsonObject:
        """Store a new state without judging it, or end the object if nothing holds it any more.

        For what the server itself does to objects: it must get on with invalid ones, too.
        """
        if _is_released(resource, obj["metadata"]):
            self.storage.remove(resource.where, old.key)
            return obj
        return self.storage.put(resource.where, obj).obj

    # --- the steps of a write ---------------------------------------------------------------

    def _decode(
        self, resource: Resource, obj: Mapping[str, Any], options: WriteOptions
    ) -> JsonObject:
        """Copy what a client sent, in the form in which it is stored."""
        identity = resource.identity
        _check_kind(resource, obj)
        given = obj if resource.view is None else resource.view.decode(obj)
        unknown: list[str] = []
        meta = metadata.clean(given, identity, unknown)
        body = resource.strategy.decode(given, unknown)
        options.unknown += sorted(unknown)
        if options.strict and (unknown or options.repeated):
            problems = [f'unknown field "{path}"' for path in sorted(unknown)]
            problems += [f'duplicate field "{path}"' for path in options.repeated]
            raise errors.bad_request(
                f'{identity.kind} in version "{identity.version}" cannot be handled as a '
                f"{identity.kind}: strict decoding error: {', '.join(problems)}"
            )
        stored_version = self.registry.stored(resource.where).identity.api_version
        head = {"apiVersion": stored_version, "kind": identity.kind, "metadata": meta}
        rest = {name: value for name, value in body.items() if name not in head}
        return head | rest

    def _write(
        self,
        resource: Resource,
        old: Stored,
        obj: Mapping[str, Any],
        subresource: str,
        options: WriteOptions,
    ) -> JsonObject:
        new = self._decode(resource, obj, options)
        meta = new["metadata"]
        self._check_version(resource, old, meta)
        if subresource == "status":
            new = self._only_status(resource, new, old)
        elif resource.has_status:
            new = _with(new, "status", old.obj.get("status"))
        causes = list(metadata.validate_update(new["metadata"], old.metadata))
        if causes:
            raise errors.invalid(resource.identity, old.key.name, causes)
        metadata.for_update(new["metadata"], old.metadata)
        resource.strategy.prepare_update(new, old.obj)
        if new == old.obj:
            return old.obj
        self._validate(resource, new, old.obj)
        if resource.strategy.has_generation and _spec_changed(resource, new, old.obj):
            new["metadata"]["generation"] = old.metadata.get("generation", 0) + 1
        return new if options.dry_run else self.settle(resource, old, new)

    @staticmethod
    def _check_version(resource: Resource, old: Stored, meta: JsonObject) -> None:
        version = meta.get("resourceVersion")
        if version and version != old.metadata["resourceVersion"]:
            raise errors.conflict(resource.identity, old.key.name)
        if not version and not resource.strategy.unconditional_update:
            cause = errors.invalid_value(
                "metadata.resourceVersion", 0, "must be specified for an update"
            )
            # This one error names the plural where all others name the kind.
            plural = replace(resource.identity, kind=resource.identity.plural)
            raise errors.invalid(plural, old.key.name, [cause])

    @staticmethod
    def _only_status(resource: Resource, new: JsonObject, old: Stored) -> JsonObject:
        kept = _with(dict(old.obj), "status", new.get("status"))
        keeps = resource.strategy.status_keeps_metadata
        kept["metadata"] = dict(old.metadata) if keeps else new["metadata"]
        return kept

    def _validate(self, resource: Resource, new: JsonObject, old: JsonObject | None) -> None:
        causes = [*metadata.validate(new["metadata"]), *resource.strategy.validate(new, old)]
        if causes:
            name = new["metadata"].get("name", "")
            raise errors.invalid(resource.identity, name, causes)

    def _mark(self, resource: Resource, old: Stored, options: DeleteOptions) -> JsonObject:
        """Return the object as it looks once its deletion was asked for."""
        marked: JsonObject = {**old.obj, "metadata": dict(old.metadata)}
        meta = marked["metadata"]
        grace = resource.strategy.grace_seconds(old.obj, options.grace_seconds)
        if meta.get("deletionTimestamp"):
            if grace >= meta.get("deletionGracePeriodSeconds", 0):
                return marked
        elif "generation" in meta:
            meta["generation"] += 1
        meta["deletionTimestamp"] = in_seconds(grace, now())
        meta["deletionGracePeriodSeconds"] = grace
        finalizers = list(meta.get("finalizers") or ())
        wanted = (*options.finalizers(), *resource.strategy.deletion_finalizers(old.obj))
        finalizers += [name for name in wanted if name not in finalizers]
        if finalizers:
            meta["finalizers"] = finalizers
        if resource.where == builtin.NAMESPACES:
            meta.pop("deletionGracePeriodSeconds")
            marked["status"] = {**marked.get("status", {}), "phase": "Terminating"}
        return marked

    # --- names ------------------------------------------------------------------------------

    def _resource(self, named: Named) -> Resource:
        return self.registry.by_name(named) if isinstance(named, str) else named

    @staticmethod
    def _key(resource: Resource, namespace: str, name: str) -> Key:
        return Key(namespace if resource.namespaced else "", name)


def _check_kind(resource: Resource, obj: Mapping[str, Any]) -> None:
    """Make sure that an object is what its path says."""
    identity = resource.identity
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if resource.custom and not kind:
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {identity.kind}): "
            f"Object 'Kind' is missing in '{errors.quote(obj)[:200]}'"
        )
    if version not in (None, "", identity.api_version):
        raise errors.bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({identity.api_version})"
        )
    if kind not in (None, "", identity.kind):
        raise errors.bad_request(
            f'{kind} in version "{identity.version}" cannot be handled as a {identity.kind}'
        )


def _is_released(resource: Resource, meta: JsonObject) -> bool:
    """Say whether nothing holds an object whose deletion was asked for."""
    return bool(
        meta.get("deletionTimestamp")
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
        # A namespace is held by its spec, until it is empty.
        and resource.where != builtin.NAMESPACES
    )


def _with(obj: JsonObject, name: str, value: Any) -> JsonObject:
    """Set a field, or remove it if there is no value."""
    if value is None:
        obj.pop(name, None)
    else:
        obj[name] = value
    return obj


def _spec_changed(resource: Resource, new: JsonObject, old: JsonObject) -> bool:
    """Say whether something changed that counts as a new generation."""
    apart = {"metadata", "status"} if resource.has_status else {"metadata"}
    names = (new.keys() | old.keys()) - apart
    return any(new.get(name) != old.get(name) for name in names)
