"""Ports for servers that are started later, and perhaps again.

A port that the kernel chooses when one binds to 0 is of the range out of which it serves everybody's
connections too: as soon as it is let go, any client on this machine may have it, and the server that was
to listen there cannot. These here are below that range, and below those that Kubernetes gives to
Services, so that nobody is given one of them who does not ask for it.
"""

import secrets
import socket
import threading
from itertools import chain
from pathlib import Path
from typing import Final

_FIRST: Final = 12_000
"""Above what programs listen on by default, a kubelet's 10250 for one."""
_END: Final = 30_000
"""From here on are the node ports of Services."""
_CLIENTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")

_lock: Final = threading.Lock()
_given: Final[set[int]] = set()


def free_port() -> int:
    """Return a port that nobody on this machine listens on, another one at each call.

    Raises:
        RuntimeError: there is none.
    """
    first, end = listening_range()
    chosen = secrets.randbelow(end - first)  # not the first free one: other processes look, too
    with _lock:
        for port in chain(range(first + chosen, end), range(first, first + chosen)):
            if port not in _given and _is_free(port):
                _given.add(port)
                return port
    raise RuntimeError(f"no port from {first} to {end - 1} is free")


def listening_range() -> tuple[int, int]:
    """Return the first port that is given out, and the one after the last."""
    clients = int(_CLIENTS.read_text().split()[0]) if _CLIENTS.exists() else _END
    end = min(_END, clients)
    if end <= _FIRST:
        raise RuntimeError(f"{_CLIENTS} begins at {clients}: set it to {_END} or more")
    return _FIRST, end


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
