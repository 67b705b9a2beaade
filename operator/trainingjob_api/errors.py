"""The errors of the operator, each with the policy that goes with it.

* OperatorError
  + InvalidSpecError      the object cannot be understood; not retried until it changes
  + SettingsError         the environment is wrong; the process exits with 2
  + KubernetesError       the API server refused or did not answer
    - ConflictError       409: what we saw is stale, or a name is taken; look again
    - AlreadyExistsError  409 on create: the name is taken; look whose it is
    - GoneError           410: the list's continue token or the watch's version has expired
    - ForbiddenError      403, or an admission rule said no: ask again at most once a minute
    - RightMissingError   403, our account lacks a right: ask again soon, then less often
    - QuotaExceededError  403 from a quota: ask again at most once a minute
    - NotYetReadyError    403 until a controller has caught up: ask again soon, then less often
    - InvalidError        400/405/413/415/422 from the server itself: this request cannot pass; for a pod,
                          `jobs.create_errors` tells if that is the template's fault
    - ThrottledError      429: ask again after `retry_after_s`
    - UnavailableError    5xx, time-outs, broken connections: ask again with back-off
    - NotServedError      404 that names no object, or of a list: the kind is not served here, so
                          that nothing is known of its objects; ask again with back-off
  + RecordError           a job's record was not stored
    - RecordRejectedError     this very record is not taken; other records are none the wiser
    - RecordConflictError     the receiver has other content under the same revision
    - EndpointUnauthorizedError   the receiver lets nobody in with our token
    - EndpointUnavailableError    no usable answer: ask again with back-off
  + VolumeError           the log volume cannot be used; its `reason` is one of VolumeHealthy
  + EntryError            one job's entry on the volume cannot be used; the volume itself can
    - ArchiveBusyError    another process writes to a job's archive; again in a moment
  + EntryChangedError     something on the volume changed while we looked at it; another time

The absence of one object is not an error: a 404 that names it, on a read, a delete or a patch, is
`None`.
"""

from typing import ClassVar


class OperatorError(Exception):
    """Base of everything the operator raises on purpose."""


class InvalidSpecError(OperatorError):
    """A TrainingJob cannot be understood. The message says which field and what to write."""


class SettingsError(OperatorError):
    """A setting is wrong. The message names the variable and what it takes."""


class KubernetesError(OperatorError):
    """The Kubernetes API refused a request or did not answer it.

    Attributes:
        status: the HTTP status, or 0 when no answer came.
        reason: the machine-readable reason of the Status object, or a word of ours.
        message: the server's message, for people.
    """

    permanent: ClassVar[bool] = False
    """Whether the same request would be refused again for as long as nothing else changes."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class ConflictError(KubernetesError):
    """The object changed since it was read, or a precondition did not hold."""


class AlreadyExistsError(KubernetesError):
    """An object of that name is already there."""


class GoneError(KubernetesError):
    """The resource version or the continue token has expired: list again from the start."""


class ForbiddenError(KubernetesError):
    """Access or admission control said no."""

    permanent = True


class RightMissingError(ForbiddenError):
    """Our account lacks the right, by the roles that the server knows.

    An API server that has just started knows none for a moment, and forbids everybody everything.
    """

    permanent = False


class QuotaExceededError(ForbiddenError):
    """A ResourceQuota has no room left."""


class NotYetReadyError(ForbiddenError):
    """Something that admission needs of the namespace is not there, or not there yet."""


class InvalidError(KubernetesError):
    """The request itself is wrong and will never pass as it is."""

    permanent = True


class ThrottledError(KubernetesError):
    """The server asked for patience.

    Attributes:
        retry_after_s: seconds to wait before the next request, at least.
    """

    def __init__(self, message: str, *, retry_after_s: float, status: int = 429) -> None:
        super().__init__(message, status=status, reason="TooManyRequests")
        self.retry_after_s = retry_after_s


class UnavailableError(KubernetesError):
    """No usable answer: a time-out, a broken connection or a server error."""


class NotServedError(UnavailableError):
    """404 for a kind and not for an object: its definition is not there, or it is another cluster.

    It says nothing of the objects. An empty list is a list, and never this.
    """


class RecordError(OperatorError):
    """A job's record was not stored. The message is one line, and holds no secret."""


class RecordRejectedError(RecordError):
    """The receiver will not take this record as it is."""


class RecordTooLargeError(RecordRejectedError):
    """The receiver takes no record of this size."""


class RecordConflictError(RecordError):
    """The receiver has another record under the same uid and revision."""


class EndpointUnauthorizedError(RecordError):
    """The receiver does not accept our token: a fault of the set-up, not of one record."""


class EndpointUnavailableError(RecordError):
    """The receiver did not answer, or not in a way that can be understood.

    Attributes:
        retry_after_s: seconds for which it asked to be left alone; 0: it did not.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class VolumeError(OperatorError):
    """The log volume cannot be used as it is. The message names what mends it.

    Attributes:
        reason: for the condition `VolumeHealthy`.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class EntryError(OperatorError):
    """One job's entry on the log volume cannot be used, and the volume itself can.

    It concerns that job alone. The message names the entry and what mends it.
    """


class ArchiveBusyError(EntryError):
    """Another process writes to a job's archive: another operator, or a dead one on another node."""


class EntryChangedError(OperatorError):
    """Somebody else changes what we look at, so that nothing can be said about it now."""
