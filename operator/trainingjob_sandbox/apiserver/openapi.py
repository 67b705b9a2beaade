"""Serves OpenAPI v3 documents, for `kubectl explain` and for clients that validate objects themselves.

Custom resources are described by the schema of their CRD. Built-in resources have only a
description and their operations.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from trainingjob_sandbox.apiserver.patching import JSON_PATCH, MERGE_PATCH
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.storage import JsonObject, encode

V2_MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_GVK: Final = "x-kubernetes-group-version-kind"

_OBJECT_META: Final = {
    "type": "object",
    "description": "Metadata of all objects: name, labels, and fields set by the server.",
    "properties": {
        name: {"type": type_, "description": description}
        for name, type_, description in (
            ("name", "string", "The name, unique within the namespace; it cannot be changed."),
            ("namespace", "string", "The scope of the name; empty is `default`."),
            ("labels", "object", "Keys and values to organise and select objects by."),
            ("annotations", "object", "Keys and values that tools keep with the object."),
            ("finalizers", "array", "Must be empty before the object is removed."),
            ("ownerReferences", "array", "Owners: this object is deleted after all of them."),
            ("uid", "string", "The object's identity, set by the server."),
            ("resourceVersion", "string", "The object's revision; opaque to clients."),
            ("generation", "integer", "The number of changes of the desired state."),
            ("creationTimestamp", "string", "When the object was created."),
            ("deletionTimestamp", "string", "When the object will be deleted."),
        )
    },
}


_INFO: Final = {"title": "Kubernetes sandbox", "version": "v1.37.2"}


def group_version_path(resource: Resource) -> str:
    """Return the path of a resource's group and version: `api/v1`, `apis/example.dev/v1`."""
    version = resource.identity.api_version
    return f"apis/{version}" if resource.identity.group else f"api/{version}"


def index(resources: Iterable[Resource]) -> JsonObject:
    """Answer `GET /openapi/v3`: the list of documents, with a hash of each for caches."""
    paths: dict[str, list[Resource]] = {}
    for resource in resources:
        paths.setdefault(group_version_path(resource), []).append(resource)
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_digest(served)}"}
            for path, served in paths.items()
        }
    }


def _digest(resources: list[Resource]) -> str:
    content = [[resource.identity.plural, resource.schema] for resource in resources]
    return hashlib.sha256(encode(content)).hexdigest().upper()


def v2() -> bytes:
    """Answer `GET /openapi/v2` with an empty document, in protobuf.

    kubectl reads it before it applies a `List`, to validate its fields, and does not validate kinds
    that the document does not describe.
    """
    info = b"".join(_proto_text(number, text) for number, text in enumerate(_INFO.values(), 1))
    return _proto_text(1, "2.0") + _proto_bytes(2, info)


def _proto_text(number: int, text: str) -> bytes:
    return _proto_bytes(number, text.encode())


def _proto_bytes(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field; every content here is short enough for a one-byte length."""
    return bytes((number << 3 | 2, len(content))) + content


def document(resources: Iterable[Resource], path: str) -> JsonObject | None:
    """Answer `GET /openapi/v3/{path}`; None if nothing is served there."""
    served = [resource for resource in resources if group_version_path(resource) == path]
    if not served:
        return None
    paths: JsonObject = {}
    schemas: JsonObject = {_META: _OBJECT_META}
    for resource in served:
        paths |= _paths(resource, path)
        schemas[_schema_name(resource)] = _schema(resource)
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _kind(resource: Resource) -> dict[str, str]:
    identity = resource.identity
    return {"group": identity.group, "version": identity.version, "kind": identity.kind}


def _schema_name(resource: Resource) -> str:
    identity = resource.identity
    if not resource.custom:
        group = identity.group.partition(".")[0] or "core"
        return f"io.k8s.api.{group}.{identity.version}.{identity.kind}"
    reverse = ".".join(reversed(identity.group.split(".")))
    return f"{reverse}.{identity.version}.{identity.kind}"


def _schema(resource: Resource) -> JsonObject:
    schema: JsonObject = dict(resource.schema or {"type": "object"})
    schema.setdefault("description", resource.description)
    properties: Mapping[str, Any] = schema.get("properties") or {}
    schema["properties"] = {
        **properties,
        "apiVersion": {"type": "string", "description": "The group and version of the schema."},
        "kind": {"type": "string", "description": "The kind of the object."},
        "metadata": {
            "description": "Standard metadata.",
            "allOf": [{"$ref": f"#/components/schemas/{_META}"}],
        },
    }
    if not resource.custom:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return schema | {_GVK: [_kind(resource)]}


def _paths(resource: Resource, base: str) -> JsonObject:
    prefix = f"/{base}/namespaces/{{namespace}}" if resource.namespaced else f"/{base}"
    collection = f"{prefix}/{resource.identity.plural}"
    named = f"{collection}/{{name}}"
    paths = {
        collection: {
            "get": _operation(resource, "list"),
            "post": _operation(resource, "post", body="application/json"),
        },
        named: {
            "get": _operation(resource, "get"),
            "put": _operation(resource, "put", body="application/json"),
            "patch": _operation(resource, "patch", body=MERGE_PATCH),
            "delete": _operation(resource, "delete"),
        },
    }
    if resource.has_status:
        patch = _operation(resource, "patch", body=MERGE_PATCH)
        paths[f"{named}/status"] = {"get": _operation(resource, "get"), "patch": patch}
    return paths


def _operation(resource: Resource, action: str, *, body: str = "") -> JsonObject:
    schema = {"$ref": f"#/components/schemas/{_schema_name(resource)}"}
    content = {"application/json": {"schema": schema}}
    operation: JsonObject = {
        "x-kubernetes-action": action,
        _GVK: _kind(resource),
        "responses": {"200": {"description": "OK", "content": content}},
    }
    if body:
        # `kubectl apply` leaves the validation to the server only if it finds `fieldValidation`.
        # Without strategic merge patch in this list it uses its own types for built-in kinds.
        names = ("dryRun", "fieldManager", "fieldValidation")
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in names
        ]
        types = (MERGE_PATCH, JSON_PATCH) if body == MERGE_PATCH else (body,)
        operation["requestBody"] = {"content": {type_: {"schema": schema} for type_ in types}}
    return operation
