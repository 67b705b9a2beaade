"""What the sockets need of other rooms, and are given by the wiring."""

from collections.abc import Sequence
from typing import Protocol

from trainingjob_console.access.caller import Caller
from trainingjob_console.sockets.log_ring import LogRing
from trainingjob_console.sockets.status_queue import StatusQueue


class LogFollower(Protocol):
    """The logs that are being written."""

    async def follow(
        self,
        caller: Caller,
        uid: str,
        source: str,
        offset: int,
        ring: LogRing,
        *,
        file: str = "",
        places: Sequence[str] = (),
    ) -> str:
        """Put what is written from an offset, or from places of ranks, on into a ring, and return why it ended.

        Raises:
            RequestError: there is no such log, the user may not read it, or too many are read.
        """
        ...


class Newest(Protocol):
    """The newest sample, which replaces all before it."""

    def join(self, queue: StatusQueue) -> None:
        """Send a queue the newest, and each that follows."""
        ...

    def leave(self, queue: StatusQueue) -> None:
        """Send a queue nothing more."""
        ...
