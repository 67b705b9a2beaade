"""A WebSocket client on raw sockets, which can fail in any way, or stop reading."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

MASK = b"\x01\x02\x03\x04"
_open: set[socket.socket] = set()


class RawSocket:
    """One connection. Unread data stays in the kernel."""

    def __init__(self, sock: socket.socket, rest: bytes, head: str) -> None:
        self.sock = sock
        self.head = head
        self._buffer = rest
        self.close_code: int | None = None
        self.close_reason = ""

    @classmethod
    async def connect(
        cls,
        port: int,
        path: str = "/ws",
        *,
        receive_buffer: int = 0,
        origin: str | None = None,
        token: str = "",
    ) -> Self:
        """Connect and request the upgrade; `head` is the response."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        _open.add(sock)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Origin: {origin or f'http://127.0.0.1:{port}'}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol: trainingjob.v1",
            *((f"Authorization: Bearer {token}",) if token else ()),
        )
        await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
        found = b""
        while b"\r\n\r\n" not in found:
            part = await loop.sock_recv(sock, 65536)
            if not part:
                break
            found += part
        head, _, rest = found.partition(b"\r\n\r\n")
        return cls(sock, rest, head.decode())

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    async def send(self, frame: dict[str, Any] | str) -> None:
        data = (frame if isinstance(frame, str) else json.dumps(frame)).encode()
        await self._send(0x81, data)

    def send_now(self, frame: dict[str, Any]) -> None:
        """Send without running anything else in this process."""
        data = masked(0x81, json.dumps(frame).encode())
        assert self.sock.send(data) == len(data)

    def take_all_now(self) -> None:
        """Read all received data from the kernel, without running anything else in this process."""
        with suppress(BlockingIOError):
            while part := self.sock.recv(262144):
                self._buffer += part

    async def send_close(self) -> None:
        """Close as a client does; it may or may not continue to read."""
        await self._send(0x88, struct.pack("!H", 1000))

    async def receive(self, timeout_s: float = 60.0) -> dict[str, Any] | None:
        """Return the next frame; None: closed, and `close_code` is set if there was a code."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = await self._frame()
                if found is None:
                    return None
                opcode, data = found
                if opcode == 8:
                    self.close_code = struct.unpack("!H", data[:2])[0] if data else 1005
                    self.close_reason = data[2:].decode()
                    return None
                if opcode == 1:
                    frame: dict[str, Any] = json.loads(data)
                    return frame

    async def receive_kind(self, kind: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """Return the next frame of a kind, and drop earlier ones; pings are answered."""
        while True:
            frame = await self.receive(timeout_s)
            assert frame is not None, f"closed with {self.close_code}"
            if frame["type"] == kind:
                return frame
            if frame["type"] == "ping":
                await self.send({"type": "pong"})

    def close(self) -> None:
        """Close the TCP connection with a FIN."""
        _open.discard(self.sock)
        self.sock.close()

    def reset(self) -> None:
        """Abort the TCP connection with an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    async def _send(self, head: int, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, masked(head, data))

    async def _frame(self) -> tuple[int, bytes] | None:
        head = await self._take(2)
        if head is None:
            return None
        size = head[1] & 0x7F
        if size >= 126:
            more = await self._take(2 if size == 126 else 8)
            assert more is not None
            size = int.from_bytes(more, "big")
        data = await self._take(size)
        return None if data is None else (head[0] & 0x0F, data)

    async def _take(self, size: int) -> bytes | None:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < size:
            try:
                part = await loop.sock_recv(self.sock, 262144)
            except ConnectionResetError:
                return None
            if not part:
                return None
            self._buffer += part
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def masked(head: int, data: bytes) -> bytes:
    """Encode a client frame."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    return bytes([head]) + size + MASK + bytes(b ^ MASK[n % 4] for n, b in enumerate(data))


@contextmanager
def raw_sockets_closed() -> Iterator[None]:
    """Close all sockets that a failed test has left open."""
    try:
        yield
    finally:
        while _open:
            _open.pop().close()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
