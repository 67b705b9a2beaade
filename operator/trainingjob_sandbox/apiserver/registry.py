"""The registry of served resources, and the discovery documents (`/api`, `/apis`)."""

from collections.abc import Iterable
from typing import Any, Final

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.storage import CollectionId, JsonObject

SERVER_VERSION: Final = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.2+sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_EVICTION: Final = {"group": "policy", "version": "v1", "kind": "Eviction"}
_SUBRESOURCE_KINDS: Final = {"eviction": _EVICTION, "binding": {"kind": "Binding"}}


class Registry:
    """The resources by group, version and name.

    Args:
        resources: the built-in resources.
    """

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        for resource in resources:
            self.add(resource)

    def __iter__(self) -> Any:
        return iter(tuple(self._by_path.values()))

    def add(self, resource: Resource) -> None:
        """Register a resource; it replaces one of the same group, version and name."""
        identity = resource.identity
        self._by_path[identity.group, identity.version, identity.plural] = resource

    def remove(self, where: CollectionId) -> None:
        """Unregister a resource, in all its versions."""
        for path, resource in tuple(self._by_path.items()):
            if resource.collection_id == where:
                del self._by_path[path]

    def find(self, group: str, version: str, plural: str) -> Resource:
        """Return the resource of a group, version and plural.

        Raises:
            ApiError: 404, it does not exist.
        """
        resource = self._by_path.get((group, version, plural))
        if resource is None:
            raise errors.no_such_resource()
        return resource

    def by_name(self, name: str) -> Resource:
        """Return a resource by its plural, alone or with the group: `pods`, `widgets.example.dev`.

        Raises:
            KeyError: it does not exist.
        """
        for resource in self._by_path.values():
            if resource.conversion is None and name in (
                resource.identity.plural,
                resource.identity.qualified_plural,
            ):
                return resource
        raise KeyError(f"no resource is called {name!r}")

    def storage_resource(self, where: CollectionId) -> Resource:
        """Return the resource in the storage version of a collection.

        Raises:
            KeyError: it does not exist.
        """
        for resource in self._by_path.values():
            if resource.collection_id == where and resource.conversion is None:
                return resource
        raise KeyError(f"no resource stores {where}")

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of an apiVersion and kind; None if it does not exist."""
        group, _, version = api_version.rpartition("/")
        for resource in self._by_path.values():
            identity = resource.identity
            if (identity.group, identity.version, identity.kind) == (group, version, kind):
                return resource
        return None

    # --- discovery -------------------------------------------------------------------------

    def versions(self) -> dict[str, list[str]]:
        """Return the versions of every group; the core group has the empty name."""
        found: dict[str, list[str]] = {}
        for group, version, _ in sorted(self._by_path):
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return found

    def group_list(self) -> JsonObject:
        """Answer `GET /apis`."""
        groups = [self._group(group, versions) for group, versions in self.versions().items()]
        named = [group for group in groups if group["name"]]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}

    def group(self, name: str) -> JsonObject | None:
        """Answer `GET /apis/{group}`; None if the group does not exist."""
        versions = self.versions().get(name)
        if not versions or not name:
            return None
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group(name, versions)}

    @staticmethod
    def _group(name: str, versions: list[str]) -> JsonObject:
        listed = [
            {"groupVersion": f"{name}/{version}", "version": version} for version in versions
        ]
        return {"name": name, "versions": listed, "preferredVersion": listed[0]}

    def resource_list(self, group: str, version: str) -> JsonObject | None:
        """Answer `GET /api/v1` and `GET /apis/{group}/{version}`; None if there are no resources."""
        served = [
            resource
            for (its_group, its_version, _), resource in sorted(self._by_path.items())
            if (its_group, its_version) == (group, version)
        ]
        if not served:
            return None
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": served[0].identity.api_version,
            "resources": [entry for resource in served for entry in _entries(resource)],
        }


def _entries(resource: Resource) -> Iterable[JsonObject]:
    identity = resource.identity
    entry: JsonObject = {
        "name": identity.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": identity.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    yield entry
    for name, verbs in resource.subresources.items():
        yield {
            "name": f"{identity.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": identity.kind,
            **_SUBRESOURCE_KINDS.get(name, {}),
            "verbs": list(verbs),
        }
