"""What tests do to the sandbox's API server from inside: objects past every check, a past that is
forgotten, a log of the requests."""

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
    """Store an object as it is, past every check; watchers see it.

    Only what nothing works without is added: uid, creation time and, where the kind has them,
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
    """Forget the past: watches and lists that refer to it get 410."""
    server.store.storage.compact()
    expire_continue_tokens(server)


def expire_continue_tokens(server: ApiServer) -> None:
    """Let every list that is under way in pages get 410."""
    server._handlers.lists.snapshots.clear()


@dataclass(slots=True)
class RequestRecord:
    """One request.

    Attributes:
        verb: in Kubernetes' words; of what is no resource (discovery, health) the method.
        path: where it went.
        status: the HTTP status answered; 0 while there is none, or if there never was one.
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
