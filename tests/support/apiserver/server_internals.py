"""Manipulates the sandbox's API server in this process: stores unvalidated objects, compacts its
history, and records requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from trainingjob_sandbox.apiserver import ApiServer, metadata
from trainingjob_sandbox.apiserver.clock import now
from trainingjob_sandbox.apiserver.requests import Path, verb
from trainingjob_sandbox.apiserver.resources import copy_json
from trainingjob_sandbox.apiserver.storage import JsonObject
from trainingjob_sandbox.apiserver.store import Store


def put_raw(store: Store, obj: Mapping[str, Any]) -> JsonObject:
    """Store an object without validation; watchers see it.

    Only the indispensable metadata is added: uid, creation time and, where the kind has them,
    namespace. An object of that name is replaced.
    """
    resource = store.registry.by_kind(obj.get("apiVersion", ""), obj.get("kind", ""))
    assert resource is not None, f"no resource has kind {obj.get('kind')!r}"
    raw: JsonObject = copy_json(obj)
    meta = raw.setdefault("metadata", {})
    fresh: JsonObject = {"name": meta["name"]}
    metadata.for_create(
        fresh,
        namespace=meta.get("namespace", "default") if resource.namespaced else "",
        now=now(),
        generation=resource.strategy.has_generation,
    )
    raw["metadata"] = fresh | meta
    return store.storage.put(resource.collection_id, raw).obj


def compact(server: ApiServer) -> None:
    """Compact the history: watches and lists from older resource versions get 410."""
    server.store.storage.compact()
    expire_continue_tokens(server)


def expire_continue_tokens(server: ApiServer) -> None:
    """Expire all continue tokens: the next page of every paged list gets 410."""
    server._handlers.lists.snapshots.clear()


@dataclass(slots=True)
class RequestRecord:
    """One request.

    Attributes:
        verb: the Kubernetes verb; for non-resource paths (discovery, health) the HTTP method.
        path: the URL path.
        status: the HTTP status of the response; 0 if there is none (yet).
        query: its parameters.
    """

    verb: str
    path: Path
    status: int = 0
    query: Mapping[str, str] = field(default_factory=dict)


def record_requests(server: ApiServer) -> list[RequestRecord]:
    """Return a list to which every request is added; call it before the server starts."""
    records: list[RequestRecord] = []
    serve = server._serve

    async def recorded(request: web.Request) -> web.StreamResponse:
        path = Path.read(request.path)
        record = RequestRecord(
            verb(request.method, path, request.query), path, query=dict(request.query)
        )
        records.append(record)
        response = await serve(request)
        record.status = response.status
        return response

    server._serve = recorded  # type: ignore[method-assign]
    return records
