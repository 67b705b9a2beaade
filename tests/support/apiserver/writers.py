"""Who wrote while another one held the Lease, by the API server's own clock."""

import json
from collections.abc import Collection, Iterable

from tests.support.apiserver.audit import Request

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def takeovers(requests: Iterable[Request], users: Collection[str]) -> list[str]:
    """The holders of the Lease one after the other, by their writes of it that were accepted."""
    found: list[str] = []
    for request in _accepted_writes(requests, users):
        if request.resource == "leases" and found[-1:] != [request.user]:
            found.append(request.user)
    return found


def writes_beside_the_holder(requests: Iterable[Request], users: Collection[str]) -> list[str]:
    """The writes of those who did not hold the Lease when the server received them.

    Whoever wrote the Lease last holds it: to take it, to renew it, or to give it back.

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


def writes(requests: Iterable[Request], user: str) -> int:
    """How many writes of a user were accepted, but for the Lease."""
    return sum(each.resource != "leases" for each in _accepted_writes(requests, {user}))


def received(request: Request) -> str:
    """The moment at which the server received a request; such moments can be compared."""
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
