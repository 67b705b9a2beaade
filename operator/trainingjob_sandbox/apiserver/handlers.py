"""Handles the verbs (get, list, watch, create, update, patch, delete) and subresources of resources."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from aiohttp import web

from trainingjob_sandbox.apiserver import errors, patching, pod_actions, request_body
from trainingjob_sandbox.apiserver.clock import now
from trainingjob_sandbox.apiserver.deletion import DeleteOptions
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.lists import Lists, encode_list, watch_options
from trainingjob_sandbox.apiserver.pod_logs import PodLogs
from trainingjob_sandbox.apiserver.requests import Call
from trainingjob_sandbox.apiserver.storage import JsonObject, Stored, encode
from trainingjob_sandbox.apiserver.store import Store, WriteOptions
from trainingjob_sandbox.apiserver.strategic import strategic_merge
from trainingjob_sandbox.apiserver.tables import table
from trainingjob_sandbox.apiserver.watch import Watch

_CREATED: Final = 201
_APPLY_REFUSED: Final = (
    "the sandbox does not support server-side apply, because it does not track field ownership: "
    "use `kubectl apply` without --server-side, a merge patch or a JSON patch"
)


def reply(obj: object, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    """Return a JSON response; `obj` may be already encoded."""
    body = obj if isinstance(obj, bytes) else encode(obj)
    response = web.Response(body=body, status=status, content_type="application/json")
    for warning in warnings or ():
        escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


class Handlers:
    """Handles requests for resources.

    Args:
        store: the objects.
        bookmark_interval_s: seconds between two bookmarks of a watch.
    """

    def __init__(self, store: Store, *, bookmark_interval_s: float) -> None:
        self.store = store
        self.lists = Lists(store.storage)
        self.logs = PodLogs(store)
        self._bookmark_interval_s = bookmark_interval_s

    async def handle(self, request: web.Request, call: Call) -> web.StreamResponse:
        """Handle a request.

        Raises:
            ApiError: the error response.
        """
        path, verb = call.path, call.verb
        if path.subresource:
            verbs = call.resource.subresources.get(path.subresource)
            if verbs is None:
                raise errors.no_such_resource()
            if verb not in verbs:
                raise errors.method_not_allowed()
            if path.subresource != "status":
                return await self._subresource(request, call)
        elif verb not in call.resource.verbs:
            raise errors.method_not_allowed()
        if verb == "watch":
            return await self._watch(request, call)
        answer: Callable[[Call], web.Response] = getattr(self, f"_{verb}")
        return answer(call)

    # --- reading ---------------------------------------------------------------------------

    def _get(self, call: Call) -> web.Response:
        stored = self.store.find(call.resource, call.path.name, call.path.namespace)
        return self._object(call, stored.obj, stored)

    def _object(
        self,
        call: Call,
        obj: JsonObject,
        stored: Stored | None = None,
        *,
        status: int = 200,
        warnings: list[str] | None = None,
    ) -> web.Response:
        """Return a response with one object, in the requested representation (object or table)."""
        if call.as_table:
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return reply(
                table(call.resource, [obj], metadata=metadata, now=now(), include=call.include),
                status,
                warnings,
            )
        if call.resource.conversion is not None:
            return reply(call.resource.conversion.to_served(obj), status, warnings)
        return reply(stored.encoded if stored else obj, status, warnings)

    def _list(self, call: Call) -> web.Response:
        page, metadata = self.lists.page(call)
        if call.as_table:
            objs = [stored.obj for stored in page]
            return reply(
                table(call.resource, objs, metadata=metadata, now=now(), include=call.include)
            )
        return reply(encode_list(call.resource, page, metadata))

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        options = watch_options(call, self._bookmark_interval_s)
        watch = Watch(self.store.storage, call.resource, options)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async with aclosing(watch.lines()) as stream:
            async for lines in stream:
                await response.write(lines)
        await response.write_eof()
        return response

    # --- writing ---------------------------------------------------------------------------

    def _create(self, call: Call) -> web.Response:
        body, repeated = self._body(call)
        if call.path.name:
            raise errors.method_not_allowed()
        options = call.write_options(repeated)
        obj = self.store.create(
            call.resource, body, namespace=call.path.namespace, options=options
        )
        return self._object(call, obj, status=_CREATED, warnings=self._warnings(call, options))

    def _update(self, call: Call) -> web.Response:
        body, repeated = self._body(call)
        options = call.write_options(repeated)
        metadata = {
            **(body.get("metadata") or {}),
            "name": call.path.name,
            "namespace": call.path.namespace,
        }
        obj = self.store.replace(
            call.resource,
            {**body, "metadata": metadata},
            subresource=call.path.subresource,
            options=options,
        )
        return self._object(call, obj, warnings=self._warnings(call, options))

    def _patch(self, call: Call) -> web.Response:
        apply = self._patcher(call)
        patch, _ = request_body.parse_body(
            call.body, "application/json", call.resource.identity.kind
        )
        options = call.write_options()
        conversion = call.resource.conversion

        def change(obj: JsonObject) -> Mapping[str, Any]:
            patched = apply(obj if conversion is None else conversion.to_served(obj), patch)
            if not isinstance(patched, dict) or not isinstance(patched.get("metadata", {}), dict):
                raise errors.bad_request("the patch leaves no object")
            self._check_path(call, patched)
            return patched

        obj = self.store.update(
            call.resource,
            call.path.name,
            change,
            namespace=call.path.namespace,
            subresource=call.path.subresource,
            options=options,
        )
        return self._object(call, obj, warnings=self._warnings(call, options))

    @staticmethod
    def _patcher(call: Call) -> Callable[[Any, Any], Any]:
        accepted = [patching.JSON_PATCH, patching.MERGE_PATCH]
        if not call.resource.custom:
            accepted.append(patching.STRATEGIC_MERGE_PATCH)
        if call.content_type in patching.APPLY_PATCHES:
            raise ApiError(415, "UnsupportedMediaType", _APPLY_REFUSED)
        if call.content_type not in accepted:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types "
                f"include: {', '.join(accepted)}",
            )
        return {
            patching.JSON_PATCH: patching.json_patch,
            patching.MERGE_PATCH: patching.merge,
            patching.STRATEGIC_MERGE_PATCH: strategic_merge,
        }[call.content_type]

    def _delete_options(self, call: Call) -> DeleteOptions:
        """Parse the options of a deletion; as in Kubernetes, a body overrides the whole query."""
        body = self._options_body(call)
        return DeleteOptions.read(body, {} if body else call.query)

    def _delete(self, call: Call) -> web.Response:
        options = self._delete_options(call)
        name = call.path.name
        deletion = self.store.delete(call.resource, name, call.path.namespace, options)
        if not deletion.removed or call.resource.strategy.returns_deleted:
            return self._object(call, deletion.obj)
        identity = call.resource.identity
        details = {
            "name": name,
            "group": identity.group,
            "kind": identity.plural,
            "uid": deletion.obj["metadata"]["uid"],
        }
        return reply(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {key: value for key, value in details.items() if value},
            }
        )

    def _deletecollection(self, call: Call) -> web.Response:
        options = self._delete_options(call)
        selected, storage = call.matcher(), self.store.storage
        chosen = [
            stored
            for stored in storage.collection(call.resource.collection_id).sorted()
            if selected(stored.obj)
        ]
        for stored in chosen:
            self.store.delete(call.resource, stored.key.name, stored.key.namespace, options)
        metadata: JsonObject = {"resourceVersion": str(storage.revision)}
        return reply(encode_list(call.resource, chosen, metadata))

    # --- subresources ----------------------------------------------------------------------

    async def _subresource(self, request: web.Request, call: Call) -> web.StreamResponse:
        namespace, name = call.path.namespace, call.path.name
        match call.path.subresource:
            case "log":
                return await self.logs.serve(request, namespace, name, call.query)
            case "binding":
                pod_actions.bind(self.store, call)
            case _:
                pod_actions.evict(self.store, call)
        return reply(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "code": _CREATED,
            },
            _CREATED,
        )

    # --- bodies ----------------------------------------------------------------------------

    def _body(self, call: Call) -> tuple[JsonObject, list[str]]:
        kind = call.resource.identity.kind
        body, repeated = request_body.parse_body(call.body, call.content_type, kind)
        if not isinstance(body, dict):
            raise errors.bad_request(
                f"the object provided is unrecognized (must be of type {kind}): "
                "couldn't get version/kind; json parse error: it is no object"
            )
        self._check_path(call, body)
        return body, repeated

    @staticmethod
    def _check_path(call: Call, obj: Mapping[str, Any]) -> None:
        """Check that an object's name and namespace match the path."""
        metadata = obj.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise errors.bad_request("metadata: it is no object")
        name, namespace = metadata.get("name"), metadata.get("namespace")
        if call.path.name and name not in (None, "", call.path.name):
            raise errors.bad_request(
                f"the name of the object ({name}) does not match the name on the URL "
                f"({call.path.name})"
            )
        if call.path.namespace and namespace not in (None, "", call.path.namespace):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )

    @staticmethod
    def _options_body(call: Call) -> JsonObject:
        if not call.body:
            return {}
        body, _ = request_body.parse_body(call.body, call.content_type, "DeleteOptions")
        if not isinstance(body, dict):
            raise errors.bad_request("the body of a deletion must be DeleteOptions")
        return body

    @staticmethod
    def _warnings(call: Call, options: WriteOptions) -> list[str]:
        if call.query.get("fieldValidation") == "Ignore":
            return []
        unknown = [f'unknown field "{path}"' for path in options.unknown]
        return unknown + [f'duplicate field "{path}"' for path in options.repeated]
