"""Faults on demand: which requests go wrong, when, and how.

A fault counts the requests that match it. It strikes from the `nth` on, `times` times. What it
does happens before the request takes effect, or after: the difference between a write that was
lost and one whose answer was lost.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

MAX_REQUESTS: Final = 100_000
"""Requests that the log remembers."""


@dataclass(slots=True)
class RequestRecord:
    """One request, for tests to count and look at.

    Attributes:
        verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`;
            of what is no resource (discovery, health) the method in lower case.
        resource: the plural, or empty.
        subresource: such as `status`, or empty.
        namespace: empty for the cluster and for requests across namespaces.
        name: the object's, empty for collections.
        user_agent: what the client calls itself.
        user: the bearer token: the sandbox takes it for a name and checks nothing.
        path: the URL's path with its query.
        status: the HTTP status answered; 0 while there is none, or if there never was one.
        at_monotonic: when it came, in seconds of the monotonic clock.
    """

    verb: str
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user_agent: str = ""
    user: str = ""
    path: str = ""
    status: int = 0
    at_monotonic: float = 0.0


Callback = Callable[[RequestRecord], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Match:
    """Selects requests; what is None matches anything.

    Attributes:
        verb: exactly this verb.
        resource: exactly this plural.
        subresource: exactly this one; empty: the object itself.
        namespace: exactly this one.
        name: exactly this object.
        user_agent: a part of what the client calls itself.
        user: exactly this user.
    """

    verb: str | None = None
    resource: str | None = None
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None
    user_agent: str | None = None
    user: str | None = None

    def __call__(self, record: RequestRecord) -> bool:
        """Say whether a request is meant."""
        fields = ("verb", "resource", "subresource", "namespace", "name", "user")
        return (
            all(getattr(self, field) in (None, getattr(record, field)) for field in fields)
            and (self.user_agent or "") in record.user_agent
        )


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer with an error.

    Attributes:
        status: the HTTP status.
        reason: the Status object's reason.
        message: its message.
        retry_after_s: the header `Retry-After`.
        after: whether the request takes effect all the same.
    """

    status: int
    reason: str = "InternalError"
    message: str = "a fault on demand"
    retry_after_s: int | None = None
    after: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait, then go on as if nothing were.

    Attributes:
        seconds: how long.
        after: whether to wait with the answer, not with the request.
    """

    seconds: float
    after: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection.

    Attributes:
        after: whether the request takes effect before that.
    """

    after: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Keep the connection and never send a byte.

    Attributes:
        after: whether the request takes effect.
    """

    after: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function, in the server's loop, then go on: to kill the client, for example.

    Attributes:
        function: takes the request's record.
        after: whether to call it when the request has taken effect, before the answer is sent.
    """

    function: Callback
    after: bool = False


Effect = Respond | Delay | Reset | Hang | Call


@dataclass(slots=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        effect: what happens.
        match: to which requests.
        nth: from which matching request on, counted from 1.
        times: how many in a row; None: for ever.
        seen: how many requests matched so far.
        struck: how many went wrong so far.
    """

    effect: Effect
    match: Callable[[RequestRecord], bool] = field(default_factory=Match)
    nth: int = 1
    times: int | None = 1
    seen: int = 0
    struck: int = 0

    def strikes(self, record: RequestRecord) -> bool:
        """Count a request, and say whether it goes wrong."""
        if not self.match(record):
            return False
        self.seen += 1
        over = self.times is not None and self.struck >= self.times
        if self.seen < self.nth or over:
            return False
        self.struck += 1
        return True


class FaultPlan:
    """The faults that a server has been told of."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let something go wrong; returns the fault, whose counters can be read."""
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go well again."""
        self._faults.clear()

    def take(self, record: RequestRecord) -> list[Effect]:
        """Return what happens to a request, in the order in which faults were added."""
        return [fault.effect for fault in self._faults if fault.strikes(record)]
