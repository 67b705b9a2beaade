"""Allocates a loopback address for each pod, because pods share this machine's network.

Linux accepts connections on all of 127.0.0.0/8. The node allocates from 127.64.0.1 up, the lowest
free address first. Ranks resolve each other's host names before all of them run, so an address is
allocated to a pod's name when it is first used, and freed with the last pod of that attempt.

Two jobs can both listen on port 29500 if each binds to its own address. A program that binds to
all addresses takes the port on the whole machine; only a network namespace would change that.
"""

import heapq
import ipaddress
import re
import sys
from typing import Final

_FIRST: Final = int(ipaddress.IPv4Address("127.64.0.1"))
_LAST: Final = int(ipaddress.IPv4Address("127.127.255.254"))
_RANK: Final = re.compile(r"(?P<gang>(?P<owner>.+)-\d+)-\d+")
_SHARED: Final = "127.0.0.1"


class AddressBook:
    """Addresses by pod name. The size is bounded by the gangs that have a pod on this node."""

    def __init__(self, *, own_addresses: bool = sys.platform == "linux") -> None:
        self._own_addresses = own_addresses
        self._names: dict[tuple[str, str], dict[str, int]] = {}
        """(namespace, gang) -> pod name -> address."""

        self._pods: dict[tuple[str, str], set[str]] = {}
        """(namespace, gang) -> uids of its pods on this node."""

        self._free: list[int] = []
        self._next = _FIRST

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def acquire(self, namespace: str, name: str, uid: str) -> str:
        """Return the address of a pod that starts on this node, and keep it allocated until `release`."""
        self._pods.setdefault((namespace, _gang(name)), set()).add(uid)
        return self.address(namespace, name)

    def release(self, namespace: str, name: str, uid: str) -> None:
        """Forget a deleted pod; after the last pod of its gang, free all addresses of the gang."""
        key = (namespace, _gang(name))
        holders = self._pods.get(key, set())
        holders.discard(uid)
        if holders:
            return
        self._pods.pop(key, None)
        for address in self._names.pop(key, {}).values():
            heapq.heappush(self._free, address)

    def address(self, namespace: str, name: str) -> str:
        """Return the address of a pod name, allocating it if necessary; the pod need not run yet."""
        if not self._own_addresses:
            return _SHARED
        names = self._names.setdefault((namespace, _gang(name)), {})
        if name not in names:
            names[name] = self._allocate()
        return str(ipaddress.IPv4Address(names[name]))

    def _allocate(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        if self._next > _LAST:
            raise RuntimeError("no loopback address is left")
        self._next += 1
        return self._next - 1


def gang_of(name: str) -> str:
    """Return the common prefix of the pod names of an attempt; "" if `name` is not a rank's pod name."""
    match = _RANK.fullmatch(name)
    return match["gang"] if match else ""


def _gang(name: str) -> str:
    return gang_of(name) or name
