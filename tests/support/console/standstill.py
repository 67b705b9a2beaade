"""A process that is stalled or suspended: the clock of its event loop jumps, and sockets hold unread data."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Standstill:
    """The clock of the event loop, which a test moves on: to all that runs here, the process stood still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        running = loop.time
        self._stood_s = 0.0
        monkeypatch.setattr(loop, "time", lambda: running() + self._stood_s)

    def lasts(self, seconds: float) -> None:
        self._stood_s += seconds


class UnreadAnswer:
    """An answer that arrives on a socket, and is read with the next step of the event loop."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def arrive(self) -> None:
        """Send it; nothing reads it before the caller next awaits."""
        self._peer.send(b"the answer")


@contextmanager
def unread_answer(was_read: asyncio.Event) -> Iterator[UnreadAnswer]:
    """Yield an answer that has not arrived yet; this event is set once it has been read."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    def read() -> None:
        ours.recv(100)
        was_read.set()

    loop.add_reader(ours, read)
    try:
        yield UnreadAnswer(theirs)
    finally:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
