"""The errors of the console with their HTTP statuses and reasons, and the JSON error response.

* ConsoleError
  + SettingsError          a setting is invalid; the process exits with 2
  + StartError             it cannot listen on its address; the process exits with 1
  + RequestError           the response to a rejected request
    - BadRequestError      400: a parameter or the body is invalid
    - UnauthorizedError    401: the token is missing or invalid
    - ForbiddenError       403: the user lacks a right, or the request is cross-origin
    - NotFoundError        404: there is no such job or path
    - TooLargeError        413: the body is larger than the limit
    - MediaTypeError       415: the body is not JSON
    - BusyError            503: a limit is reached; retry after `retry_after_s`
    - ApiServerError       the status of the API server, or 503: it did not respond
      + AnswerTooLargeError  503: its response is too large
"""

from typing import ClassVar, Final

from starlette.responses import JSONResponse, Response

UNAUTHORIZED: Final = 401
"""HTTP status of a request with an invalid or expired token."""


class ConsoleError(Exception):
    """Base class of the console's errors."""


class SettingsError(ConsoleError):
    """A setting is invalid. The message names the variable and its valid values, never its value."""


class StartError(ConsoleError):
    """The console cannot start. The message says why and what to do."""


class RequestError(ConsoleError):
    """A request is rejected. The message is a sentence for the user that says what to do.

    Attributes:
        status: the HTTP status.
        reason: a CamelCase reason for programs, as in Kubernetes.
        retry_after_s: seconds until the same request may succeed; None: unknown, or never.
    """

    default_status: ClassVar[int] = 500
    default_reason: ClassVar[str] = "InternalError"

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status or self.default_status
        self.reason = reason or self.default_reason
        self.retry_after_s = retry_after_s


class BadRequestError(RequestError):
    """A parameter or the body is invalid. The message says which and why."""

    default_status = 400
    default_reason = "BadRequest"


class UnauthorizedError(RequestError):
    """The token is missing, invalid or expired."""

    default_status = UNAUTHORIZED
    default_reason = "Unauthorized"


class ForbiddenError(RequestError):
    """The user lacks a right, or the request was made by a page of another origin."""

    default_status = 403
    default_reason = "Forbidden"


class NotFoundError(RequestError):
    """The object does not exist, or the user may not see it."""

    default_status = 404
    default_reason = "NotFound"


class TooLargeError(RequestError):
    """The body is larger than the limit."""

    default_status = 413
    default_reason = "RequestEntityTooLarge"


class MediaTypeError(RequestError):
    """The body is not JSON."""

    default_status = 415
    default_reason = "UnsupportedMediaType"


class BusyError(RequestError):
    """A limit is reached, or a data source does not respond. The message says which."""

    default_status = 503
    default_reason = "ServiceUnavailable"


class ApiServerError(RequestError):
    """The API server rejected a call, with its own message, or did not respond.

    Attributes:
        answered: False if there was no usable response.
        detail: more details, which may include addresses: for the console's log, not for users.
    """

    default_status = 503
    default_reason = "ServiceUnavailable"

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", detail: str = ""
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.answered = status > 0
        self.detail = detail


class AnswerTooLargeError(ApiServerError):
    """The response is too large: the request must be for fewer objects."""


def error_response(error: RequestError) -> Response:
    """Return the response for a rejected request, or for a WebSocket before its upgrade."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    return json_error(error.status, error.reason, str(error), headers)


def json_error(
    status: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Return a JSON error response, which caches must not store."""
    body = {"error": {"reason": reason, "message": message}}
    return JSONResponse(
        body, status_code=status, headers={"Cache-Control": "no-store"} | (headers or {})
    )
