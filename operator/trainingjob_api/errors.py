"""The exception classes of the operator, each with its retry policy.

* OperatorError
  + InvalidSpecError      the spec is invalid; not retried until the object changes
  + SettingsError         a setting is invalid; the process exits with 2
  + KubernetesError       the API server refused a request or did not answer it
    - ConflictError       409: our view is stale, or a name is taken; read again
    - AlreadyExistsError  409 on create: the name is taken; check its owner
    - GoneError           410: the list's continue token or the watch's version has expired
    - ForbiddenError      403 or denied by admission: retry at most once a minute
    - RightMissingError   403, RBAC denies the request: retry soon, then less often
    - QuotaExceededError  403 from a quota: retry at most once a minute
    - NotYetReadyError    403 until a controller has caught up: retry soon, then less often
    - InvalidError        400/405/413/415/422 from the server itself: the request is invalid; for a pod,
                          `jobs.create_errors` decides if the template is the cause
    - ThrottledError      429: retry after `retry_after_s`
    - UnavailableError    5xx, timeouts, broken connections: retry with back-off
    - NotServedError      404 that names no object, or for a list: the kind is not served here, so
                          its objects are unknown; retry with back-off
  + RecordError           a job's record was not stored
    - RecordRejectedError     this record is rejected; others may be accepted
    - RecordConflictError     the receiver has different content for this revision
    - EndpointUnauthorizedError   the receiver does not accept our token
    - EndpointUnavailableError    no usable response: retry with back-off
  + VolumeError           the log volume cannot be used; `reason` is one of VolumeHealthy's
  + EntryError            one job's entry on the volume cannot be used, the volume itself can
    - ArchiveBusyError    another process writes to the job's archive: retry in a moment
  + EntryChangedError     an entry on the volume changed while it was examined: retry later

A missing object is not an error: a 404 that names the object, on a read, delete or patch, becomes
`None`.
"""

from typing import ClassVar


class OperatorError(Exception):
    """Base class of all exceptions that the operator raises on purpose."""


class InvalidSpecError(OperatorError):
    """A spec is invalid. The message names the field and the values that it accepts."""


class SettingsError(OperatorError):
    """A setting is invalid. The message names the variable and the values that it accepts."""


class KubernetesError(OperatorError):
    """The Kubernetes API refused a request or did not answer it.

    Attributes:
        status: the HTTP status; 0 if there was no response.
        reason: the machine-readable reason of the Status object, or one of our own.
        message: the server's message, for people.
    """

    permanent: ClassVar[bool] = False
    """True if the same request will be refused again as long as nothing else changes."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class ConflictError(KubernetesError):
    """The object has changed since it was read, or a precondition failed."""


class AlreadyExistsError(KubernetesError):
    """An object with that name already exists."""


class GoneError(KubernetesError):
    """The resource version or the continue token has expired: list again from the start."""


class ForbiddenError(KubernetesError):
    """Access control or admission control denied the request."""

    permanent = True


class RightMissingError(ForbiddenError):
    """RBAC denies the request to our service account.

    An API server that has just started has not loaded any roles yet, and briefly denies everything.
    """

    permanent = False


class QuotaExceededError(ForbiddenError):
    """A ResourceQuota is exhausted."""


class NotYetReadyError(ForbiddenError):
    """Admission needs an object in the namespace that does not exist, perhaps not yet."""


class InvalidError(KubernetesError):
    """The request itself is invalid; repeating it unchanged does not help."""

    permanent = True


class ThrottledError(KubernetesError):
    """The server throttled the request (429).

    Attributes:
        retry_after_s: minimum wait before the next request, in seconds.
    """

    def __init__(self, message: str, *, retry_after_s: float, status: int = 429) -> None:
        super().__init__(message, status=status, reason="TooManyRequests")
        self.retry_after_s = retry_after_s


class UnavailableError(KubernetesError):
    """No usable response: a timeout, a broken connection or a server error."""


class NotServedError(UnavailableError):
    """404 for a kind and not for an object: the CRD is not installed, or it is another cluster.

    It tells nothing about the objects. An empty list never raises this error.
    """


class RecordError(OperatorError):
    """A job's record was not stored. The message is one line and contains no secret."""


class RecordRejectedError(RecordError):
    """The receiver rejects this record."""


class RecordTooLargeError(RecordRejectedError):
    """The receiver rejects the record because of its size."""


class RecordConflictError(RecordError):
    """The receiver has different content under the same uid and revision."""


class EndpointUnauthorizedError(RecordError):
    """The receiver does not accept our token: an error of the configuration, not of one record."""


class EndpointUnavailableError(RecordError):
    """The receiver did not respond, or its response is unusable.

    Attributes:
        retry_after_s: the receiver's `Retry-After`, in seconds; 0: none.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class VolumeError(OperatorError):
    """The log volume cannot be used as it is. The message tells how to fix it.

    Attributes:
        reason: the reason for the condition `VolumeHealthy`.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class EntryError(OperatorError):
    """One job's entry on the log volume cannot be used, but the volume itself can.

    It concerns only that job. The message names the entry and how to fix it.
    """


class ArchiveBusyError(EntryError):
    """Another process holds a job's archive: another operator, or a dead one on another node."""


class EntryChangedError(OperatorError):
    """Another process changed an entry while it was examined, so the result is not valid."""
