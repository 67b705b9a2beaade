"""Maps error responses of the API server (status, headers, body) to our exception classes."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from trainingjob_api.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubernetesError,
    NotServedError,
    NotYetReadyError,
    QuotaExceededError,
    RightMissingError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.core.message_text import one_line

ERRORS: Final = 400
"""The lowest HTTP status that is an error."""

NOT_FOUND: Final = 404
MAX_ERROR: Final = 4096
"""Maximum bytes of an error body that are read in place of a stream."""

_DEFAULT_RETRY_AFTER_S: Final = 1.0
_MAX_RETRY_AFTER_S: Final = 60.0

_BY_STATUS: Final[Mapping[int, type[KubernetesError]]] = {
    400: InvalidError,
    403: ForbiddenError,
    405: InvalidError,
    410: GoneError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}

_ADMISSION_DENIED: Final = re.compile(
    r"admission webhook \".*\" denied the request|ValidatingAdmissionPolicy '.*' denied request"
)
"""Matches the API server's message for a denial by an admission webhook or policy, with any status.

A webhook that sets no status results in 400, and a ValidatingAdmissionPolicy that sets no reason in
422 (k8s.io/apiserver: `webhook/errors.ToStatusErr`, `policy/validating`). Neither means that the
request can never succeed, because the rules can change.
"""

_UNAUTHORIZED: Final = re.compile(r"[^:]*\bforbidden: User \".*\" cannot ")
"""Matches the API server's message for a denial by the authorizer, which runs before admission
(k8s.io/apiserver: `responsewriters.Forbidden`)."""

_NOT_YET_READY: Final = re.compile(
    r"error looking up service account|status unknown for quota|cannot find RESTMapping"
)
"""Matches admission errors that occur only in the first moments of a namespace or a cluster.

Controllers create a namespace's default ServiceAccount and the status of its quotas. A job that is
applied together with its namespace can be created before they have. The admission plugin
OwnerReferencesPermissionEnforcement looks for new kinds every half minute. Until it has found our
kind, it refuses pods that such an object owns: those of the first job after an install.
"""


def error_from(status: int, headers: Mapping[str, str], body: bytes) -> KubernetesError:
    """Return the exception for a response with a status of 400 or more.

    The API server's own body is a Status object; a proxy in between can send any body.
    """
    document = _status_object(body)
    reason = str(document.get("reason") or "")
    message = one_line(str(document.get("message") or body[:500].decode("utf-8", "replace")))
    message = message or f"HTTP {status}"
    if status == 429:  # noqa: PLR2004 - HTTP's own number
        return ThrottledError(message, retry_after_s=_retry_after(headers))
    is_denied = _ADMISSION_DENIED.search(message) is not None
    if status == 409 and not is_denied:  # noqa: PLR2004 - HTTP's own number
        kind = AlreadyExistsError if reason == "AlreadyExists" else ConflictError
        return kind(message, status=status, reason=reason)
    if status == 403 and "exceeded quota" in message:  # noqa: PLR2004 - HTTP's own number
        return QuotaExceededError(message, status=status, reason=reason)
    if status == 403 and _UNAUTHORIZED.match(message):  # noqa: PLR2004 - HTTP's own number
        return RightMissingError(message, status=status, reason=reason)
    if status == 403 and _NOT_YET_READY.search(message):  # noqa: PLR2004 - HTTP's own number
        return NotYetReadyError(message, status=status, reason=reason)
    kind_of = _BY_STATUS.get(status, UnavailableError)
    if is_denied and status < 500:  # noqa: PLR2004 - HTTP's own number
        kind_of = ForbiddenError
    elif kind_of is InvalidError and document.get("kind") != "Status":
        # The message of a proxy. A job must not fail because a proxy in between is broken.
        kind_of = UnavailableError
    return kind_of(message, status=status, reason=reason)


def not_served(method: str, path: str) -> NotServedError:
    """Return the exception for a 404 that names no object."""
    return NotServedError(
        f"404 on {method} {path}: this API server does not serve that kind (are the CRDs "
        "installed, and is this the right cluster?)",
        status=NOT_FOUND,
        reason="NotServed",
    )


def names_an_object(body: bytes) -> bool:
    """Return True if a 404 says that one named object does not exist.

    For a kind that is not served (its CRD was deleted, or this is another cluster) the API server
    answers with plain text or with a Status without a name, and a proxy in between with anything.
    """
    document = _status_object(body)
    details = document.get("details")
    return (
        document.get("reason") == "NotFound"
        and isinstance(details, dict)
        and bool(details.get("name"))
    )


def is_about(body: bytes, plural: str) -> bool:
    """Return True if an error is the API server's own, about this resource (for example `pods`)."""
    details = _status_object(body).get("details")
    return isinstance(details, dict) and details.get("kind") == plural


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        asked = float(headers.get("Retry-After", _DEFAULT_RETRY_AFTER_S))
    except ValueError:  # a date: no API server sends one
        asked = _DEFAULT_RETRY_AFTER_S
    if math.isnan(asked):  # every comparison with it is False, and such a timer never fires
        asked = _DEFAULT_RETRY_AFTER_S
    return min(max(asked, 0.0), _MAX_RETRY_AFTER_S)
