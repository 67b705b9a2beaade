"""Applies merge patches and JSON patches; see `strategic.py` for strategic merge patches.

The input objects are never modified; the result shares their unchanged parts.
"""

from typing import Any, Final

import jsonpatch
import jsonpointer

from trainingjob_sandbox.apiserver import errors

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCHES: Final = ("application/apply-patch+yaml", "application/apply-patch+cbor")

MAX_OPERATIONS: Final = 10_000
"""Maximum operations of a JSON patch, as on the real server."""


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386): null removes, lists are replaced as a whole."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def json_patch(target: dict[str, Any], operations: Any) -> Any:
    """Apply a JSON patch (RFC 6902).

    Raises:
        ApiError: 400, it is not a list of operations; 413, there are too many; 422, an operation
            is malformed, its path does not exist or its test fails.
    """
    if not isinstance(operations, list):
        raise errors.bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type "
            "[]handlers.jsonPatchOp"
        )
    if len(operations) > MAX_OPERATIONS:
        raise errors.ApiError(
            413,
            "RequestEntityTooLarge",
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
            f"got {len(operations)}",
        )
    try:
        return jsonpatch.apply_patch(target, operations)
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        AttributeError,  # an operation that is no object
        KeyError,
        TypeError,  # a path that leads through a scalar
    ) as error:
        raise errors.ApiError(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
            details={},
        ) from error
