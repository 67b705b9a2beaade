"""Chooses free ports for servers that are started, or restarted, later.

A port that the kernel chooses when a socket binds to 0 is from its ephemeral range: once it is free
again, any client connection on this machine may get it before the server listens. The ports chosen here
are below that range, and below the node ports of Services, so that none is assigned automatically.
"""

import secrets
import socket
import threading
from itertools import chain
from pathlib import Path
from typing import Final

_FIRST: Final = 12_000
"""Above the ports on which programs listen by default, such as a kubelet's 10250."""
_END: Final = 30_000
"""The first node port of Services."""
_CLIENTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")

_lock: Final = threading.Lock()
_given: Final[set[int]] = set()


def free_port() -> int:
    """Return a port on which no process of this machine listens, a different one at each call.

    Raises:
        RuntimeError: there is none.
    """
    first, end = listening_range()
    chosen = secrets.randbelow(end - first)  # random, because other processes search, too
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
