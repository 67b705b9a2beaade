"""Counts the requests of each user from the API server's audit log."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CONTROLLER_MANAGER: Final = "system:kube-controller-manager"
"""The user whose watches all controllers of kube-controller-manager share."""

_CLEANERS: Final = {
    f"system:serviceaccount:kube-system:{name}"
    for name in ("ttl-after-finished-controller", "generic-garbage-collector")
}
_POLICIES: Final = "retentionpolicies"


@dataclass
class Requests:
    """The requests of one contestant.

    Attributes:
        own: requests that run jobs to their end.
        events, leases, reads, deletion: Events; Leases; lists, watches and discovery (which
            depend on time, not on the number of jobs); and the removal of finished jobs
            (deletions by the contestant, requests about its policies, and all requests of the
            garbage collector and the TTL controller).
        refused: how many of `own` were answered with 400 or more.
        detail: `own` by verb and resource.
        everybody: all requests of all users, by user.
    """

    own: int = 0
    events: int = 0
    leases: int = 0
    reads: int = 0
    deletion: int = 0
    refused: int = 0
    detail: Counter[str] = field(default_factory=Counter)
    everybody: Counter[str] = field(default_factory=Counter)


def size(log: Path) -> int:
    """Return the size of the log in bytes; the server writes an entry before it ends its response."""
    return log.stat().st_size


def watches(log: Path, user: str, resource: str) -> bool:
    """Return True if a user has started to watch this resource."""
    entries = map(json.loads, log.read_bytes().splitlines(keepends=True)[:-1])
    return any(
        (entry["verb"], entry["user"]["username"]) == ("watch", user)
        and (entry.get("objectRef") or {}).get("resource") == resource
        for entry in entries
    )


def count(log: Path, users: Collection[str], *, start: int, end: int) -> Requests:
    """Count the requests that were answered between two sizes of the log.

    Args:
        log: the audit log, a line for each request.
        users: the contestant's users.
        start: offset of the beginning in bytes, from `size`.
        end: offset of the end in bytes.
    """
    with log.open("rb") as file:
        file.seek(start)
        return count_entries(map(json.loads, file.read(end - start).splitlines()), users)


def count_entries(entries: Iterable[dict[str, Any]], users: Collection[str]) -> Requests:
    """Count these entries of an audit log."""
    found = Requests()
    for entry in entries:
        # A watch has an entry at its start, and another one at its end, some minutes later.
        if (entry["verb"] == "watch") != (entry["stage"] == "ResponseStarted"):
            continue
        user = entry["user"]["username"]
        found.everybody[user] += 1
        if user in _CLEANERS:
            _count_cleaner(entry, found)
        elif user in users:
            _count_own(entry, found)
    return found


def _count_cleaner(entry: dict[str, Any], found: Requests) -> None:
    if "objectRef" in entry and entry["verb"] not in {"list", "watch"}:
        found.deletion += 1


def _count_own(entry: dict[str, Any], found: Requests) -> None:
    target = entry.get("objectRef") or {}
    verb, resource = entry["verb"], target.get("resource", entry["requestURI"])
    if resource == "events":
        found.events += 1
    elif resource == "leases":
        found.leases += 1
    elif verb in {"list", "watch"} or (verb == "get" and "resource" not in target):
        found.reads += 1
    elif verb in {"delete", "deletecollection"} or resource == _POLICIES:
        found.deletion += 1
    else:
        found.own += 1
        found.refused += (entry.get("responseStatus") or {}).get("code", 0) >= 400  # noqa: PLR2004
        part = f"/{target['subresource']}" if "subresource" in target else ""
        found.detail[f"{verb} {resource}{part}"] += 1
