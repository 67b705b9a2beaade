"""The limits of sockets and of what is queued for them."""

from dataclasses import dataclass
from typing import Final

PROTOCOL: Final = "trainingjob.v1"
"""The subprotocol that a client has to offer."""

MAX_FRAME: Final = 4096
"""Bytes of a frame of the client's."""

FRAMES_PER_S: Final = 20
"""Frames of a client's in a second; one with more is closed."""

MAX_SUBSCRIPTIONS: Final = 8
MAX_JOBS_SUBSCRIPTIONS: Final = 4
MAX_LOG_SUBSCRIPTIONS: Final = 2
"""Of a socket; each change of a job is held against the filter of each of jobs. Further ones are answered with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a hub; all times in seconds.

    Attributes:
        sockets: open at once; further ones are refused before the upgrade, as are those above
            `sockets_per_user` and `sockets_per_address`.
        status_rows: that wait for one subscription; above, one `resync` replaces them.
        coalesce: least time between two deltas of one subscription.
        ring_bytes: of a log that wait for one subscription; the oldest go, and a gap says so.
        ring_lines: likewise.
        queued_bytes: in all queues; above, the largest queue is cut.
        changes: of jobs that are kept for resume.
        send: deadline of one send; then the socket is closed. While this process stands still, it stands
            still, too, as does that of `pong` (`deadlines.py`).
        ping: time from the answer to a ping until the next one.
        pong: time for the answer.
        age: of a socket; then the client has to connect again.
        recheck: time between two looks at the user's rights. What the API server says of a right is
            good for as long, too: one that is taken away is gone here after twice that.
        newcomers: least time between two looks at namespaces that have just got their first job: whether
            the user may list it, and has to be sent it. Each is asked about once.
        unsure: time for which nobody could say whether the user still has its rights; with the next look
            that finds no answer the socket is closed. By the clock, whether this process stood still or
            not: a right that is taken away is not to last longer because of that.
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
