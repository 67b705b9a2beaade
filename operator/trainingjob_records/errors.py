"""The exceptions of the record service, each with the HTTP status that tells the sender what to do.

* RecordServiceError
  + SettingsError         a setting is wrong; the process exits with 2
  + StartError            it cannot run with this database or address; the process exits with 1
  + RequestError          an error response to one request
    - NotJsonError        400: the body is not JSON; do not retry
    - UnauthorizedError   401: the token is missing or wrong
    - ForbiddenHostError  403: the Host header does not name this machine (DNS rebinding)
    - ReadOnlyTokenError  403: this token may only read
    - NotFoundError       404: there is no such record
    - SlowRequestError    408: the body was not received in time; send it again
    - ConflictError       409: other content is stored under this revision
    - TooLargeError       413: the body is larger than the limit
    - MediaTypeError      415: the body is not plain JSON
    - InvalidRecordError  422: JSON, but not a valid record of this version; or an invalid query
    - UnavailableError    503: database unavailable or queue full; retry after `retry_after_s`
      . FullError         507: the database is full; retry after `retry_after_s`
"""

from typing import ClassVar


class RecordServiceError(Exception):
    """Base of all errors that the record service raises."""


class SettingsError(RecordServiceError):
    """A setting is wrong. The message names the variable and its valid values, never its value."""


class StartError(RecordServiceError):
    """The service cannot run. The message says why and what to do."""


class RequestError(RecordServiceError):
    """A request is refused. The message is a sentence; people read it in the sender's log.

    Attributes:
        status: the HTTP status.
        retry_after_s: seconds to wait before the same request can succeed, if it ever can.
    """

    status: ClassVar[int] = 500
    retry_after_s: int | None = None


class NotJsonError(RequestError):
    """The body is not JSON, or not the one that its Idempotency-Key names."""

    status = 400


class UnauthorizedError(RequestError):
    """The token is missing or wrong.

    Attributes:
        challenge: the value of `WWW-Authenticate` (RFC 6750, section 3).
    """

    status = 401

    def __init__(self, message: str, *, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class ForbiddenHostError(RequestError):
    """Without tokens only this machine is served, and the Host header must name it."""

    status = 403


class ReadOnlyTokenError(RequestError):
    """The token is one of those that may only read."""

    status = 403


class NotFoundError(RequestError):
    """There is no record of this uid."""

    status = 404


class SlowRequestError(RequestError):
    """The body was not received in time."""

    status = 408


class ConflictError(RequestError):
    """The stored record has the same revision and other content."""

    status = 409


class TooLargeError(RequestError):
    """The body is larger than the limit."""

    status = 413


class MediaTypeError(RequestError):
    """The body is compressed, or its type is not JSON."""

    status = 415


class InvalidRecordError(RequestError):
    """A record or a query is invalid. The message names the field and the reason."""

    status = 422


class UnavailableError(RequestError):
    """The record was not acknowledged: the database cannot be reached, or the queue is full."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class FullError(UnavailableError):
    """The database is full, until records are removed or the volume is enlarged."""

    status = 507
