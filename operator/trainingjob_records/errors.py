"""The errors of the record service, each with its HTTP status, on which the sender acts.

* RecordServiceError
  + SettingsError         the environment is wrong; the process exits with 2
  + StartError            it cannot run with this database or address; the process exits with 1
  + RequestError          an answer to one request
    - NotJsonError        400: these bytes are no record, and never will be
    - UnauthorizedError   401: the token is missing or wrong
    - ForbiddenHostError  403: a browser came here under a foreign name
    - ReadOnlyTokenError  403: this token may read and nothing else
    - NotFoundError       404: there is no such record
    - SlowRequestError    408: the body did not come in time; send it again
    - ConflictError       409: other content is stored under this revision
    - TooLargeError       413: the body is larger than the limit
    - MediaTypeError      415: the body is no plain JSON
    - InvalidRecordError  422: JSON, but no record that this version understands; or a wrong query
    - UnavailableError    503: the database or the queue; ask again after `retry_after_s`
      . FullError         507: there is no room for more records; ask again after `retry_after_s`
"""

from typing import ClassVar


class RecordServiceError(Exception):
    """Base of all errors that the record service raises."""


class SettingsError(RecordServiceError):
    """A setting is wrong. The message names the variable and what it takes, never a value."""


class StartError(RecordServiceError):
    """The service cannot run. The message says why and what to do."""


class RequestError(RecordServiceError):
    """A request is refused. The message is a sentence for people who read the sender's log.

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
    """No token, or a wrong one.

    Attributes:
        challenge: the value of `WWW-Authenticate` (RFC 6750, section 3).
    """

    status = 401

    def __init__(self, message: str, *, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class ForbiddenHostError(RequestError):
    """Without a token only this machine is served, under a name that is this machine's."""

    status = 403


class ReadOnlyTokenError(RequestError):
    """The token is one of those that may read and nothing else."""

    status = 403


class NotFoundError(RequestError):
    """There is no record of that uid."""

    status = 404


class SlowRequestError(RequestError):
    """The body did not come in time."""

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
    """A record or a query cannot be understood. The message says which field and why."""

    status = 422


class UnavailableError(RequestError):
    """Nothing was promised: the database cannot be reached, or too much waits for it."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class FullError(UnavailableError):
    """There is no room for more records, until some are removed or the volume grows."""

    status = 507
