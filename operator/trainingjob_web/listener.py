"""Opens a listening socket, and tells whether a host is a loopback address."""

import errno
import ipaddress
import socket

from trainingjob_web.connections import BACKLOG


class ListenError(Exception):
    """The address cannot be bound. The message says why."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Without a host: on every address; port 0: on any free port.

    Raises:
        ListenError: the address is in use, or is not an address of this machine.
    """
    try:
        if host:
            return _bound(host, port)
        return _bound_everywhere(port)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {bracketed(host)}:{port}: {error.strerror}"
        ) from error


def _bound_everywhere(port: int) -> socket.socket:
    """Bind to every address: IPv4 and IPv6 where the machine has both."""
    if socket.has_dualstack_ipv6():
        try:
            return _bound("::", port)
        except OSError as error:
            # The kernel has IPv6, but no IPv6 address (sysctl `disable_ipv6`).
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    return _bound("0.0.0.0", port)  # noqa: S104 - what an empty host asks for


def _bound(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Name the protocol, which `socket.create_server` does not: asyncio disables Nagle's algorithm
    # only then, and without that a response in two pieces took 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def bracketed(host: str) -> str:
    """Return the host as it is written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
