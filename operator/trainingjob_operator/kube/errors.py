"""From what the API server answered to our own errors, in one place."""

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
"""Where HTTP's refusals and failures begin."""

NOT_FOUND: Final = 404
MAX_ERROR: Final = 4096
"""Bytes of a refusal that are read where the answer would be a stream."""

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

_ADMISSION_SAYS_NO: Final = re.compile(
    r"admission webhook \".*\" denied the request|ValidatingAdmissionPolicy '.*' denied request"
)
"""How the API server words a refusal by somebody's admission rule, whatever its status.

A webhook that names no status makes it 400, and a ValidatingAdmissionPolicy that names no reason
422 (k8s.io/apiserver: `webhook/errors.ToStatusErr`, `policy/validating`). Neither means that the
request can never pass: rules change.
"""

_NO_RIGHT: Final = re.compile(r"[^:]*\bforbidden: User \".*\" cannot ")
"""How the API server words that the authorizer said no, before any admission was asked
(k8s.io/apiserver: `responsewriters.Forbidden`)."""

_NOT_YET_READY: Final = re.compile(
    r"error looking up service account|status unknown for quota|cannot find RESTMapping"
)
"""How admission words what a namespace, or a cluster, lacks in its first moments.

A namespace's default account, and what is used of its quotas, are made by controllers. A job that
is applied together with its namespace meets them on their way. OwnerReferencesPermissionEnforcement
looks for new kinds every half minute, and refuses pods whose owner is of a kind that it has not
found yet: those of the first job after an install.
"""


def error_from(status: int, headers: Mapping[str, str], body: bytes) -> KubernetesError:
    """The error that an answer of 400 or more means.

    The body is a Status object, if the API server wrote it; a proxy in between writes what it
    likes.
    """
    document = _status_object(body)
    reason = str(document.get("reason") or "")
    message = one_line(str(document.get("message") or body[:500].decode("utf-8", "replace")))
    message = message or f"HTTP {status}"
    if status == 429:  # noqa: PLR2004 - HTTP's own number
        return ThrottledError(message, retry_after_s=_retry_after(headers))
    is_denied = _ADMISSION_SAYS_NO.search(message) is not None
    if status == 409 and not is_denied:  # noqa: PLR2004 - HTTP's own number
        kind = AlreadyExistsError if reason == "AlreadyExists" else ConflictError
        return kind(message, status=status, reason=reason)
    if status == 403 and "exceeded quota" in message:  # noqa: PLR2004 - HTTP's own number
        return QuotaExceededError(message, status=status, reason=reason)
    if status == 403 and _NO_RIGHT.match(message):  # noqa: PLR2004 - HTTP's own number
        return RightMissingError(message, status=status, reason=reason)
    if status == 403 and _NOT_YET_READY.search(message):  # noqa: PLR2004 - HTTP's own number
        return NotYetReadyError(message, status=status, reason=reason)
    kind_of = _BY_STATUS.get(status, UnavailableError)
    if is_denied and status < 500:  # noqa: PLR2004 - HTTP's own number
        kind_of = ForbiddenError
    elif kind_of is InvalidError and document.get("kind") != "Status":
        # A proxy's own words. A job must not fail because something in between is broken.
        kind_of = UnavailableError
    return kind_of(message, status=status, reason=reason)


def not_served(method: str, path: str) -> NotServedError:
    """Return the error that a 404 means which names no object."""
    return NotServedError(
        f"404 on {method} {path}: this API server does not serve that kind (are the CRDs "
        "installed, and is this the right cluster?)",
        status=NOT_FOUND,
        reason="NotServed",
    )


def names_an_object(body: bytes) -> bool:
    """True if a 404 says that one object is absent, by its name.

    For a kind that is not served (its CRD is gone, or it is another cluster) the API server
    answers in plain text or with a Status that names nothing, and a proxy in between with anything.
    """
    document = _status_object(body)
    details = document.get("details")
    return (
        document.get("reason") == "NotFound"
        and isinstance(details, dict)
        and bool(details.get("name"))
    )


def is_about(body: bytes, plural: str) -> bool:
    """True if a refusal is the API server's own, about an object of this kind (like `pods`)."""
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
    if math.isnan(asked):  # compares with nothing, and a timer set to it never fires
        asked = _DEFAULT_RETRY_AFTER_S
    return min(max(asked, 0.0), _MAX_RETRY_AFTER_S)
