"""The server's refusals: one exception, carrying a Kubernetes `Status`.

The wording follows the real API server, because people search for it and programs match it.
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
    """One reason why an object is invalid.

    Attributes:
        field: the path of the field, or `<nil>` for the object itself.
        message: what is wrong, without the path.
        reason: the machine-readable reason, `FieldValue...`.
    """

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """A request is refused.

    Attributes:
        code: the HTTP status.
        status: the body, a `v1.Status`.
        retry_after_s: what goes into the header `Retry-After`, if anything.
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
    """Write a value as the messages do: strings in quotes, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(field: str, message: str = "") -> Cause:
    """Say that a field is missing."""
    text = f"Required value: {message}" if message else "Required value"
    return Cause(field, text, "FieldValueRequired")


def invalid_value(field: str, value: object, message: str) -> Cause:
    """Say that a field's value is not acceptable."""
    return Cause(field, f"Invalid value: {quote(value)}: {message}")


def missing_reference(field: str, value: object) -> Cause:
    """Say that a field names something that is not there."""
    return Cause(field, f"Not found: {quote(value)}", "FieldValueNotFound")


def duplicate(field: str, value: object) -> Cause:
    """Say that an element of a list occurs twice."""
    return Cause(field, f"Duplicate value: {quote(value)}", "FieldValueDuplicate")


def unsupported(field: str, value: object, supported: Sequence[object]) -> Cause:
    """Say that a value is none of those allowed."""
    allowed = ", ".join(quote(item) for item in supported)
    return Cause(
        field,
        f"Unsupported value: {quote(value)}: supported values: {allowed}",
        "FieldValueNotSupported",
    )


def forbidden_field(field: str, message: str) -> Cause:
    """Say that a field may not be set or changed here."""
    return Cause(field, f"Forbidden: {message}", "FieldValueForbidden")


def invalid(identity: Identity, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks the rules of its kind."""
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
    """422: a query parameter or a body of options breaks the rules."""
    return invalid(Identity("meta.k8s.io", "v1", kind, ""), "", [cause])


def not_found(identity: Identity, name: str) -> ApiError:
    """404: no such object."""
    return ApiError(
        404,
        "NotFound",
        f'{identity.qualified_plural} "{name}" not found',
        details=_details(name, identity.group, identity.plural),
    )


def no_such_resource() -> ApiError:
    """404: no such kind of object, or no such subresource."""
    return ApiError(
        404, "NotFound", "the server could not find the requested resource", details={}
    )


def already_exists(identity: Identity, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{identity.qualified_plural} "{name}" already exists',
        details=_details(name, identity.group, identity.plural),
    )


def conflict(identity: Identity, name: str, message: str = "", *, what: str = "") -> ApiError:
    """409: what the client saw is stale, or a precondition does not hold."""
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
    """403: admission says no."""
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
    """400: the request makes no sense."""
    return ApiError(400, "BadRequest", message)


def method_not_allowed() -> ApiError:
    """405: the path is there, the method is not."""
    return ApiError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
        details={},
    )


def expired(message: str, *, metadata: dict[str, Any] | None = None) -> ApiError:
    """410: the past that the client refers to has been forgotten."""
    return ApiError(410, "Expired", message, metadata=metadata)


def too_old(asked: int, oldest: int) -> ApiError:
    """410: a watch wants to start before what the history holds."""
    return expired(f"too old resource version: {asked} ({oldest})")


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    pairs = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in pairs.items() if value}
