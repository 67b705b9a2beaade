"""Admission checks before an object is created: its namespace, and the ResourceQuotas of the namespace."""

from collections.abc import Iterator

from trainingjob_sandbox.apiserver import builtin, errors
from trainingjob_sandbox.apiserver.errors import Cause
from trainingjob_sandbox.apiserver.pods import is_finished
from trainingjob_sandbox.apiserver.registry import Registry
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.storage import CollectionId, JsonObject, Key, Storage, Stored


def check_namespace(storage: Storage, resource: Resource, namespace: str, name: str) -> None:
    """Check that the namespace exists and is not being terminated.

    Raises:
        ApiError: 404, it does not exist; 403, it is being terminated.
    """
    found = storage.collection(builtin.NAMESPACES).objects.get(Key("", namespace))
    if found is None:
        raise errors.ApiError(
            404,
            "NotFound",
            f'namespaces "{namespace}" not found',
            details={"name": namespace, "kind": "namespaces"},
        )
    if found.metadata.get("deletionTimestamp"):
        raise errors.forbidden(
            resource.identity,
            name,
            f"unable to create new content in namespace {namespace} because it is being terminated",
            causes=[
                Cause(
                    "metadata.namespace",
                    f"namespace {namespace} is being terminated",
                    "NamespaceTerminating",
                )
            ],
        )


class Quotas:
    """Enforces ResourceQuotas on the number of objects in a namespace.

    `pods` counts unfinished pods; `count/<resource>` counts objects of a resource. Other entries
    (such as `requests.cpu`) are stored but not enforced.
    """

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry

    def check(self, resource: Resource, namespace: str, name: str) -> None:
        """Check that one more object is within every quota.

        Raises:
            ApiError: 403, a quota would be exceeded.
        """
        for quota in self._in(namespace):
            hard = (quota.obj.get("spec") or {}).get("hard") or {}
            mine = sorted(item for item in hard if self._counts(item) == resource.collection_id)
            used = {item: self._used(item, namespace) for item in mine}
            over = [item for item in mine if used[item] + 1 > int(hard[item])]
            if over:
                raise errors.forbidden(
                    resource.identity,
                    name,
                    f"exceeded quota: {quota.key.name}, "
                    f"requested: {','.join(f'{item}=1' for item in over)}, "
                    f"used: {','.join(f'{item}={used[item]}' for item in over)}, "
                    f"limited: {','.join(f'{item}={hard[item]}' for item in over)}",
                )

    def refresh(self, namespace: str) -> None:
        """Update the quotas' status with the current usage."""
        for quota in self._in(namespace):
            hard = (quota.obj.get("spec") or {}).get("hard") or {}
            used = {
                item: str(self._used(item, namespace))
                for item in hard
                if self._counts(item) is not None
            }
            status: JsonObject = {"hard": dict(hard), "used": used}
            if quota.obj.get("status") != status:
                metadata = dict(quota.metadata)
                self._storage.put(
                    builtin.QUOTAS, {**quota.obj, "metadata": metadata, "status": status}
                )

    def _in(self, namespace: str) -> Iterator[Stored]:
        for key, quota in tuple(self._storage.collection(builtin.QUOTAS).objects.items()):
            if key.namespace == namespace:
                yield quota

    def _counts(self, item: str) -> CollectionId | None:
        """Return the collection that an entry of a quota counts; None if it is not enforced."""
        if item == "pods":
            return builtin.PODS
        if not item.startswith("count/"):
            return None
        plural, _, group = item.removeprefix("count/").partition(".")
        return CollectionId(group, plural)

    def _used(self, item: str, namespace: str) -> int:
        where = self._counts(item)
        if where is None or where not in self._storage.collections:
            return 0
        return sum(
            not (item == "pods" and is_finished(stored.obj))
            for key, stored in self._storage.collection(where).objects.items()
            if key.namespace == namespace
        )
