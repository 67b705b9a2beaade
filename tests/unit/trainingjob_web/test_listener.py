"""The socket that a server listens on."""

import socket

import pytest

from trainingjob_web.listener import ListenError, listen


def test_nagles_algorithm_is_disabled() -> None:
    # asyncio sets TCP_NODELAY for sockets that name their protocol, and for no others.
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_an_address_in_use_is_reported_in_a_sentence() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: "):
            listen("127.0.0.1", port)


def test_without_a_host_every_address_is_served() -> None:
    with listen("", 0) as listener:
        port = listener.getsockname()[1]
        loopbacks = ["127.0.0.1"]
        if listener.family == socket.AF_INET6:
            loopbacks.append("::1")
        for host in loopbacks:
            socket.create_connection((host, port), timeout=5).close()
