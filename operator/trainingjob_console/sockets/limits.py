"""The numbers: maximum WebSockets, subscriptions and queue sizes, and timeouts."""

from dataclasses import dataclass
from typing import Final

PROTOCOL: Final = "trainingjob.v1"
"""The subprotocol that a client must offer."""

MAX_FRAME: Final = 4096
"""Maximum bytes of a client's frame."""

FRAMES_PER_S: Final = 20
"""Maximum frames per second of a client; its socket is closed above that."""

MAX_SUBSCRIPTIONS: Final = 8
MAX_JOBS_SUBSCRIPTIONS: Final = 4
MAX_LOG_SUBSCRIPTIONS: Final = 2
"""Per socket. Each change of a job is matched against the filters of all job subscriptions. Further subscriptions are
rejected with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a hub; all times in seconds.

    Attributes:
        sockets: maximum number of open sockets. Further ones are rejected before the upgrade, as are those above
            `sockets_per_user` and `sockets_per_address`.
        status_rows: maximum number of queued rows of one subscription; above that, one `resync` replaces them.
        coalesce: least time between two deltas of one subscription.
        ring_bytes: maximum queued bytes of one log subscription; the oldest are dropped and reported as a gap.
        ring_lines: maximum number of queued lines of one log subscription, likewise.
        queued_bytes: maximum bytes in all queues; above that, the largest queue is cut.
        changes: maximum number of changes of jobs that are kept for clients that resume.
        send: timeout of one send, after which the socket is closed. Hardly advances while this process is
            stalled, as that of `pong` (`deadlines.py`).
        ping: time from a pong until the next ping.
        pong: timeout of a pong.
        age: longest lifetime of a socket; then the client has to reconnect.
        recheck: time between two checks of the user's rights. Responses of the API server are cached for as
            long, so a revoked right takes effect here after at most twice this time.
        newcomers: least time between two checks of namespaces that have just got their first job. Each is
            checked once, for whether the user may list jobs there and so must be sent them.
        unsure: time without a successful check, as the API server does not respond, after which the next failed
            check closes the socket. Measured by the clock even if this process was stalled, as that must not
            prolong a revoked right.
    """

    sockets: int = 256
    sockets_per_user: int = 16
    sockets_per_address: int = 64
    status_rows: int = 1000
    coalesce: float = 0.2
    ring_bytes: int = 256 * 1024
    ring_lines: int = 512
    queued_bytes: int = 64 * 2**20
    changes: int = 4096
    send: float = 5.0
    ping: float = 20.0
    pong: float = 20.0
    age: float = 12 * 3600.0
    recheck: float = 30.0
    newcomers: float = 5.0
    unsure: float = 60.0
