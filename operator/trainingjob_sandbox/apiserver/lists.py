"""Answers list requests (selection, paging, resourceVersion, encoding), and parses watch options."""

from bisect import bisect_right
from itertools import islice
from operator import attrgetter
from typing import Final, NamedTuple

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.paging import Snapshots, Token
from trainingjob_sandbox.apiserver.requests import Call
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.storage import JsonObject, Key, Storage, Stored, encode
from trainingjob_sandbox.apiserver.watch import WatchOptions

DEFAULT_WATCH_S: Final = 1800.0
"""Default timeout of a watch, in seconds."""


class _State(NamedTuple):
    """A collection at a revision, and the key after which the page starts."""

    revision: int
    objects: list[Stored]
    after: Key | None


class Lists:
    """Answers list requests, in pages if the client sets a limit.

    Args:
        storage: the objects.

    Attributes:
        snapshots: snapshots of the collections that paged lists are reading.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.snapshots = Snapshots()

    def page(self, call: Call) -> tuple[list[Stored], JsonObject]:
        """Return the objects of a list or page, and the list's metadata.

        Raises:
            ApiError: 400, the query is not valid; 410, the requested revision has expired; 504,
                the requested revision is in the future.
        """
        selected, limit = call.matcher(), call.integer("limit")
        state = self._state(call)
        start = 0
        if state.after is not None:
            start = bisect_right(state.objects, state.after, key=attrgetter("key"))
        fitting = (s for s in islice(state.objects, start, None) if selected(s.obj))
        # Stop after one page: else each page of a selection would scan the whole collection.
        chosen = list(islice(fitting, limit + 1 if limit else None))
        metadata: JsonObject = {"resourceVersion": str(state.revision)}
        if limit and len(chosen) > limit:
            page = chosen[:limit]
            self.snapshots.take(call.resource.collection_id, state.revision, state.objects)
            metadata["continue"] = Token(state.revision, page[-1].key).encode()
            # As on the real server, no count with a selector.
            if not call.query.get("labelSelector") and not call.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(chosen) - limit + sum(1 for _ in fitting)
            chosen = page
        return chosen, metadata

    def _state(self, call: Call) -> _State:
        where, asked = call.resource.collection_id, call.query.get("resourceVersion", "")
        if call.query.get("continue"):
            if asked not in ("", "0"):
                raise errors.bad_request(
                    "specifying resource version is not allowed when using continue"
                )
            token = Token.decode(call.query["continue"])
            objects = self.snapshots.recall(where, token.revision)
            return _State(token.revision, objects, token.after)
        revision, current = _revision(asked), self._storage.revision
        if revision > current:
            raise _too_large(revision, current)
        if call.query.get("resourceVersionMatch") and not asked:
            cause = errors.forbidden_field(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )
            raise errors.invalid_options("ListOptions", cause)
        if call.query.get("resourceVersionMatch") == "Exact" and revision != current:
            raise errors.expired(f"The resourceVersion for the provided list is too old: {asked}")
        return _State(current, self._storage.collection(where).sorted(), None)


def watch_options(call: Call, bookmark_interval_s: float) -> WatchOptions:
    """Parse the options of a watch request.

    Raises:
        ApiError: 400 or 422, the query is not valid.
    """
    initial = call.query.get("sendInitialEvents")
    if initial and call.query.get("resourceVersionMatch") != "NotOlderThan":
        raise errors.invalid_options(
            "ListOptions",
            errors.forbidden_field(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
        )
    bookmarks = call.flag("allowWatchBookmarks")
    wanted = call.flag("sendInitialEvents")
    return WatchOptions(
        matcher=call.matcher(),
        revision=0 if wanted else _revision(call.query.get("resourceVersion", "")),
        timeout_s=float(call.integer("timeoutSeconds") or DEFAULT_WATCH_S),
        bookmark_interval_s=bookmark_interval_s if bookmarks else None,
        initial_events_end=wanted and bookmarks,
        as_table=call.as_table,
        include=call.include,
    )


def _revision(text: str) -> int:
    if not text:
        return 0
    try:
        return int(text)
    except ValueError as error:
        raise errors.bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": '
            f'strconv.ParseUint: parsing "{text}": invalid syntax'
        ) from error


def _too_large(asked: int, current: int) -> ApiError:
    return ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={
            "causes": [
                {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            ],
            "retryAfterSeconds": 1,
        },
        retry_after_s=1,
    )


def encode_list(resource: Resource, objects: list[Stored], metadata: JsonObject) -> bytes:
    """Encode a list; each stored object is encoded at most once per revision."""
    identity = resource.identity
    if resource.conversion is not None:
        items = [encode(resource.conversion.to_served(stored.obj)) for stored in objects]
    elif resource.custom:
        items = [stored.encoded for stored in objects]
    else:
        # As on the real server, items have no apiVersion and kind, because the list has them.
        head = encode({"apiVersion": identity.api_version, "kind": identity.kind})[:-1] + b","
        items = [
            b"{" + stored.encoded[len(head) :]
            if stored.encoded.startswith(head)
            else stored.encoded
            for stored in objects
        ]
    start = encode(
        {"kind": resource.kind_of_list, "apiVersion": identity.api_version, "metadata": metadata}
    )
    return start[:-1] + b',"items":[' + b",".join(items) + b"]}"
