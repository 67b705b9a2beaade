"""Creates, updates and deletes objects by the rules of a Kubernetes API server.

All methods are synchronous and run on the server's event loop, so writes never interleave.
`controllers.py` does the later consequences of a write, such as garbage collection.
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
        dry_run: validate, but store nothing.
        strict: reject unknown and duplicate fields.
        repeated: the duplicate fields of the body.
        unknown: receives the dropped fields.
    """

    dry_run: bool = False
    strict: bool = False
    repeated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class Store:
    """The objects of the cluster, with validation, admission and versioning.

    Args:
        storage: stores the objects.
        registry: the served resources.
    """

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self.storage = storage
        self.registry = registry
        self.quotas = admission.Quotas(storage, registry)

    # --- reading ---------------------------------------------------------------------------

    def find(self, named: Named, name: str, namespace: str = "default") -> Stored:
        """Return an object as it is stored.

        Raises:
            ApiError: 404, it does not exist.
        """
        resource = self._resource(named)
        key = self._key(resource, namespace, name)
        stored = self.storage.collection(resource.collection_id).objects.get(key)
        if stored is None:
            raise errors.not_found(resource.identity, name)
        return stored

    def get(self, named: Named, name: str, namespace: str = "default") -> JsonObject:
        """Return a copy of an object.

        Raises:
            ApiError: 404, it does not exist.
        """
        copied: JsonObject = copy_json(self.find(named, name, namespace).obj)
        return copied

    def list(self, named: Named, namespace: str | None = None) -> list[JsonObject]:
        """Return copies of the objects of one namespace, or of all, sorted by namespace and name."""
        resource = self._resource(named)
        stored = self.storage.collection(resource.collection_id).sorted(namespace)
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
            named: the resource.
            obj: the object, which is not modified.
            namespace: the namespace; by default that of its metadata, else `default`.
            options: the options of the write.

        Returns:
            The object as it was stored; it must not be modified.

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
        if key in self.storage.collection(resource.collection_id).objects:
            raise errors.already_exists(resource.identity, name)
        return new if options.dry_run else self.storage.put(resource.collection_id, new).obj

    def replace(
        self,
        named: Named,
        obj: Mapping[str, Any],
        *,
        subresource: str = "",
        options: WriteOptions | None = None,
    ) -> JsonObject:
        """Replace an object, or only its status.

        A `resourceVersion` or `uid` in it is a precondition.

        Returns:
            The object as it was stored; it must not be modified.

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
        """Replace an object by the result of a function, as a PATCH does.

        Args:
            named: the resource.
            name: the object's name.
            change: takes the stored object, which it must not modify, and returns the new one.
            namespace: the object's namespace.
            subresource: `status`, or empty for the object itself.
            options: the options of the write.

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
        """Delete an object; with finalizers or a grace period, only set its deletionTimestamp.

        Raises:
            ApiError: 404, it does not exist; 409, a precondition failed.
        """
        resource, options = self._resource(named), options or DeleteOptions()
        old = self.find(resource, name, namespace)
        options.check(resource.identity, old)
        marked = self._mark_deleted(resource, old, options)
        removed = _is_released(resource, marked["metadata"])
        if options.dry_run:
            return Deletion(marked, removed=removed)
        # An object that is removed at once is not stored with its deletionTimestamp first.
        if marked != old.obj and (resource.strategy.graceful or not removed):
            marked = self.storage.put(resource.collection_id, marked).obj
        if removed:
            self.storage.remove(resource.collection_id, old.key)
        return Deletion(marked, removed=removed)

    def update_unvalidated(self, resource: Resource, old: Stored, obj: JsonObject) -> JsonObject:
        """Store a new state without validation, or remove a terminating object without finalizers.

        It is for the server's own writes, which must succeed for invalid objects, too.
        """
        if _is_released(resource, obj["metadata"]):
            self.storage.remove(resource.collection_id, old.key)
            return obj
        return self.storage.put(resource.collection_id, obj).obj

    # --- the steps of a write ---------------------------------------------------------------

    def _decode(
        self, resource: Resource, obj: Mapping[str, Any], options: WriteOptions
    ) -> JsonObject:
        """Return a copy of a client's object in the storage version, without unknown fields."""
        identity = resource.identity
        _check_kind(resource, obj)
        given = obj if resource.conversion is None else resource.conversion.to_stored(obj)
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
        stored_version = self.registry.storage_resource(
            resource.collection_id
        ).identity.api_version
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
        return new if options.dry_run else self.update_unvalidated(resource, old, new)

    @staticmethod
    def _check_version(resource: Resource, old: Stored, meta: JsonObject) -> None:
        version = meta.get("resourceVersion")
        if version and version != old.metadata["resourceVersion"]:
            raise errors.conflict(resource.identity, old.key.name)
        if not version and not resource.strategy.unconditional_update:
            cause = errors.invalid_value(
                "metadata.resourceVersion", 0, "must be specified for an update"
            )
            # This error alone has the plural where all others have the kind.
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

    def _mark_deleted(self, resource: Resource, old: Stored, options: DeleteOptions) -> JsonObject:
        """Return the object with deletionTimestamp, grace period and deletion finalizers."""
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
        if resource.collection_id == builtin.NAMESPACES:
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
    """Check that an object's apiVersion and kind match the resource."""
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
    """Return True if a terminating object has neither finalizers nor a grace period, so it can be removed."""
    return bool(
        meta.get("deletionTimestamp")
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
        # A namespace exists until its controller has deleted its contents.
        and resource.collection_id != builtin.NAMESPACES
    )


def _with(obj: JsonObject, name: str, value: Any) -> JsonObject:
    """Set a field, or remove it if there is no value."""
    if value is None:
        obj.pop(name, None)
    else:
        obj[name] = value
    return obj


def _spec_changed(resource: Resource, new: JsonObject, old: JsonObject) -> bool:
    """Return True if a change outside of metadata and status increments the generation."""
    apart = {"metadata", "status"} if resource.has_status else {"metadata"}
    names = (new.keys() | old.keys()) - apart
    return any(new.get(name) != old.get(name) for name in names)
