"""API errors: one exception with a Kubernetes `Status`, and constructors for each kind of error.

The messages are those of the real API server, because people search for them and programs match
them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_sandbox.apiserver.names import Identity

NOT_CHECKED: Final = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause of an Invalid error (`StatusCause`).

    Attributes:
        field: the path of the field, or `<nil>` for the object itself.
        message: the message, without the path.
        reason: the machine-readable reason, `FieldValue...`.
    """

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """An error response.

    Attributes:
        code: the HTTP status.
        status: the body, a `v1.Status`.
        retry_after_s: value of the header `Retry-After`; None: no header.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata or {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        if details is not None:
            self.status["details"] = details


def quote(value: object) -> str:
    """Format a value for a message, as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(field: str, message: str = "") -> Cause:
    """Return the cause for a missing field."""
    text = f"Required value: {message}" if message else "Required value"
    return Cause(field, text, "FieldValueRequired")


def invalid_value(field: str, value: object, message: str) -> Cause:
    """Return the cause for an invalid value."""
    return Cause(field, f"Invalid value: {quote(value)}: {message}")


def missing_reference(field: str, value: object) -> Cause:
    """Return the cause for a reference to something that does not exist."""
    return Cause(field, f"Not found: {quote(value)}", "FieldValueNotFound")


def duplicate(field: str, value: object) -> Cause:
    """Return the cause for a duplicate element of a list."""
    return Cause(field, f"Duplicate value: {quote(value)}", "FieldValueDuplicate")


def unsupported(field: str, value: object, supported: Sequence[object]) -> Cause:
    """Return the cause for a value that is not one of the supported ones."""
    allowed = ", ".join(quote(item) for item in supported)
    return Cause(
        field,
        f"Unsupported value: {quote(value)}: supported values: {allowed}",
        "FieldValueNotSupported",
    )


def forbidden_field(field: str, message: str) -> Cause:
    """Return the cause for a field that may not be set or changed."""
    return Cause(field, f"Forbidden: {message}", "FieldValueForbidden")


def invalid(identity: Identity, name: str, causes: Sequence[Cause]) -> ApiError:
    """Return a 422: the object is invalid."""
    listed = ", ".join(map(str, causes))
    text = listed if len(causes) == 1 else f"[{listed}]"
    details = _details(name, identity.group, identity.kind)
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field}
        for cause in causes
    ]
    message = f'{identity.qualified_kind} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, details=details)


def invalid_options(kind: str, cause: Cause) -> ApiError:
    """Return a 422: a query parameter, or a body of options, is invalid."""
    return invalid(Identity("meta.k8s.io", "v1", kind, ""), "", [cause])


def not_found(identity: Identity, name: str) -> ApiError:
    """Return a 404: the object does not exist."""
    return ApiError(
        404,
        "NotFound",
        f'{identity.qualified_plural} "{name}" not found',
        details=_details(name, identity.group, identity.plural),
    )


def no_such_resource() -> ApiError:
    """Return a 404: the resource or subresource does not exist."""
    return ApiError(
        404, "NotFound", "the server could not find the requested resource", details={}
    )


def already_exists(identity: Identity, name: str) -> ApiError:
    """Return a 409: the name is taken."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{identity.qualified_plural} "{name}" already exists',
        details=_details(name, identity.group, identity.plural),
    )


def conflict(identity: Identity, name: str, message: str = "", *, what: str = "") -> ApiError:
    """Return a 409: the client's version is stale, or a precondition failed."""
    subject = what or identity.qualified_plural
    text = message or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {subject} "{name}": {text}',
        details=_details(name, identity.group, subject.partition(".")[0]),
    )


def forbidden(
    identity: Identity, name: str, message: str, *, causes: Sequence[Cause] = ()
) -> ApiError:
    """Return a 403: rejected by admission."""
    details = _details(name, identity.group, identity.plural)
    if causes:
        details["causes"] = [
            {"reason": cause.reason, "message": cause.message, "field": cause.field}
            for cause in causes
        ]
    return ApiError(
        403,
        "Forbidden",
        f'{identity.qualified_plural} "{name}" is forbidden: {message}',
        details=details,
    )


def bad_request(message: str) -> ApiError:
    """Return a 400."""
    return ApiError(400, "BadRequest", message)


def method_not_allowed() -> ApiError:
    """Return a 405: the path does not support the method."""
    return ApiError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        details={},
    )


def expired(message: str, *, metadata: dict[str, Any] | None = None) -> ApiError:
    """Return a 410: the requested revision is no longer in the history."""
    return ApiError(410, "Expired", message, metadata=metadata)


def too_old(asked: int, oldest: int) -> ApiError:
    """Return a 410: a watch starts at a revision older than the history."""
    return expired(f"too old resource version: {asked} ({oldest})")


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    pairs = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in pairs.items() if value}
