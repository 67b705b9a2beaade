"""Finds writes by operators that did not hold the Lease at that moment, from the audit log."""

import json
from collections.abc import Collection, Iterable

from tests.support.apiserver.audit import Request

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def takeovers(requests: Iterable[Request], users: Collection[str]) -> list[str]:
    """Return the successive holders of the Lease, from their accepted writes of it."""
    found: list[str] = []
    for request in _accepted_writes(requests, users):
        if request.resource == "leases" and found[-1:] != [request.user]:
            found.append(request.user)
    return found


def writes_without_the_lease(requests: Iterable[Request], users: Collection[str]) -> list[str]:
    """Return the writes of operators that did not hold the Lease when the server received them.

    The last writer of the Lease is its holder, whether it acquired, renewed or released it.

    Args:
        requests: an audit log.
        users: the operators, each with a name of its own.
    """
    holder, found = "", []
    for request in _accepted_writes(requests, users):
        if request.resource == "leases":
            holder = request.user
        elif request.user != holder:
            found.append(
                f"{received(request)} {request.user} wrote beside {holder or 'nobody'}: "
                f"{request.verb} {request.resource} {request.name}"
            )
    return found


def count_writes(requests: Iterable[Request], user: str) -> int:
    """Count the accepted writes of a user, without those of the Lease."""
    return sum(each.resource != "leases" for each in _accepted_writes(requests, {user}))


def received(request: Request) -> str:
    """Return the time at which the server received a request, as a sortable string."""
    return str(json.loads(request.line)["requestReceivedTimestamp"])


def _accepted_writes(requests: Iterable[Request], users: Collection[str]) -> list[Request]:
    return sorted(
        (
            each
            for each in requests
            if each.user in users and each.verb in _WRITES and 200 <= each.code < 300
        ),
        key=received,
    )
