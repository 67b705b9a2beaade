"""The room of what is sent live: the WebSocket, with the parts that it stands on."""

from starlette.routing import WebSocketRoute

from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError
from trainingjob_console.parts import Parts, Room
from trainingjob_console.sockets.hub import Hub
from trainingjob_console.sockets.job_topics import JobTopics
from trainingjob_console.sockets.log_ring import LogRing
from trainingjob_console.sockets.status_queue import StatusQueue


class NoLogs:
    """Logs are not followed yet."""

    async def follow(
        self, caller: Caller, uid: str, source: str, offset: int, ring: LogRing
    ) -> str:
        """Refuse."""
        raise BusyError("logs are not followed by this version")


class NoSamples:
    """No samples are taken yet: a page that waits for one is sent none."""

    def join(self, queue: StatusQueue) -> None:
        """Send nothing."""

    def leave(self, queue: StatusQueue) -> None:
        """Send nothing."""


def streams_room(parts: Parts) -> Room:
    """Return the routes of what is sent live."""
    hub = Hub(
        gate=parts.gate,
        topics=JobTopics(parts.index),
        logs=NoLogs(),
        housekeeping=NoSamples(),
        origins=parts.settings.origins,
    )
    watch = parts.metrics.watch_bound
    watch("sockets", lambda: hub.admission.used, lambda: hub.limits.sockets)
    watch("queued_bytes", lambda: hub.budget.used, lambda: hub.budget.limit)
    return Room(routes=[WebSocketRoute("/ws", hub)])
