"""The errors of the console, each answer with its HTTP status and a reason for programs.

* ConsoleError
  + SettingsError          the environment is wrong; the process exits with 2
  + StartError             it cannot serve on this address; the process exits with 1
  + RequestError           an answer to one request
    - BadRequestError      400: a parameter or the body cannot be understood
    - UnauthorizedError    401: a token is needed, or the API server does not know the one given
    - ForbiddenError       403: the user may not, or the request comes from another page
    - NotFoundError        404: there is no such job, or no such path
    - TooLargeError        413: the body is larger than the limit
    - MediaTypeError       415: the body is not JSON
    - BusyError            503: a limit is reached; ask again after `retry_after_s`
    - ApiServerError       the API server's own refusal, or 503: it did not answer
      + AnswerTooLargeError  503: its answer is larger than one may be
"""

from typing import ClassVar, Final

from starlette.responses import JSONResponse, Response

UNAUTHORIZED: Final = 401
"""The status of a request whose token is nobody's, or not any more."""


class ConsoleError(Exception):
    """Base of all errors that the console raises."""


class SettingsError(ConsoleError):
    """A setting is wrong. The message names the variable and what it takes, never a value."""


class StartError(ConsoleError):
    """The console cannot serve. The message says why and what to do."""


class RequestError(ConsoleError):
    """A request is refused. The message is a sentence for the user that says what to do.

    Attributes:
        status: the HTTP status.
        reason: one word for programs, in the manner of Kubernetes.
        retry_after_s: seconds to wait before the same request can succeed, if it ever can.
    """

    code: ClassVar[int] = 500
    word: ClassVar[str] = "InternalError"

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status or self.code
        self.reason = reason or self.word
        self.retry_after_s = retry_after_s


class BadRequestError(RequestError):
    """A parameter or the body cannot be understood. The message says which and why."""

    code = 400
    word = "BadRequest"


class UnauthorizedError(RequestError):
    """A token is needed, or the one given is not known any more."""

    code = UNAUTHORIZED
    word = "Unauthorized"


class ForbiddenError(RequestError):
    """The user's rights do not suffice, or the request was made by a page of another origin."""

    code = 403
    word = "Forbidden"


class NotFoundError(RequestError):
    """There is no such thing, or the user may not know of it."""

    code = 404
    word = "NotFound"


class TooLargeError(RequestError):
    """The body is larger than the limit."""

    code = 413
    word = "RequestEntityTooLarge"


class MediaTypeError(RequestError):
    """The body is not JSON."""

    code = 415
    word = "UnsupportedMediaType"


class BusyError(RequestError):
    """A limit is reached, or a source does not answer. The message says which."""

    code = 503
    word = "ServiceUnavailable"


class ApiServerError(RequestError):
    """The API server refused a call, in its own words, or did not answer it.

    Attributes:
        answered: False if no usable answer came.
        detail: more words, which may name addresses: for the log, and for nobody who only asks.
    """

    code = 503
    word = "ServiceUnavailable"

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", detail: str = ""
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.answered = status > 0
        self.detail = detail


class AnswerTooLargeError(ApiServerError):
    """The answer is larger than one may be: fewer objects are to be asked for."""


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
