"""Reads the API server's audit log: user, verb, resource and status code of each request.

It is written by the server itself, one line when a request has been answered, so that it counts
what was really sent, retries and other clients included. A watch has its line when it ends.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Line = dict[str, Any]


class Kind(NamedTuple):
    """The key by which requests are counted."""

    user: str
    verb: str
    resource: str
    code: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was responded to.

    Attributes:
        user: who asked; a service account is `system:serviceaccount:<namespace>:<name>`.
        agent: the `User-Agent`.
        resource: the plural, with the subresource behind a slash; a path for what is no resource.
        code: the answer's HTTP status.
        forbidden: True if RBAC denied the request. Admission denies with the same code.
        line: the log's own line, for a message.
    """

    user: str
    agent: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    forbidden: bool
    line: str

    @property
    def kind(self) -> Kind:
        """The key by which it is counted."""
        return Kind(self.user, self.verb, self.resource, self.code)


class AuditLog:
    """Reads the log from its end at the time of opening, and keeps the requests that it has read."""

    def __init__(self, path: Path) -> None:
        """Open the log at its end; earlier requests are not read."""
        self._path = path
        self._seen: list[Request] = []
        self._file = path.open("rb")
        self._file.seek(0, 2)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def requests(self, **wanted: object) -> list[Request]:
        """Return the requests so far whose attributes have these values, in order of their responses."""
        self._read_on()
        return [
            seen
            for seen in self._seen
            if all(getattr(seen, name) == value for name, value in wanted.items())
        ]

    def count(self, **wanted: object) -> Counter[Kind]:
        """Count them by kind."""
        return Counter(seen.kind for seen in self.requests(**wanted))

    def _read_on(self) -> None:
        while True:
            self._read_lines()
            # The server rotates the log at 100 MB.
            fresh = self._path.open("rb")
            if _inode(fresh.fileno()) == _inode(self._file.fileno()):
                fresh.close()
                return
            self._read_lines()
            self._file.close()
            self._file = fresh

    def _read_lines(self) -> None:
        while (line := self._file.readline()).endswith(b"\n"):
            self._seen.append(_request(line))
        self._file.seek(-len(line), 1)  # an incomplete line: the rest is still being written


def whole_lines(path: Path) -> Iterator[Line]:
    """Yield the complete lines of the log, without a last line that is only partly written."""
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def forbidden_requests(path: Path, user: str) -> Iterator[Request]:
    """Return all requests of this user, since the server's first start, that RBAC denied."""
    for log in sorted(path.parent.glob(f"{path.stem}*{path.suffix}")):
        with log.open("rb") as lines:
            for line in lines:
                # Most lines do not match: a substring search is cheaper than parsing.
                if b'"forbid"' in line and user.encode() in line and line.endswith(b"\n"):
                    request = _request(line)
                    if request.forbidden and request.user == user:
                        yield request


def _request(raw: bytes) -> Request:
    line: Line = json.loads(raw)
    target: Line = line.get("objectRef") or {}
    resource = target.get("resource") or line["requestURI"].partition("?")[0]
    subresource = target.get("subresource")
    decision = (line.get("annotations") or {}).get("authorization.k8s.io/decision")
    return Request(
        user=line["user"].get("username", ""),
        agent=line.get("userAgent", ""),
        verb=line["verb"],
        resource=f"{resource}/{subresource}" if subresource else resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=(line.get("responseStatus") or {}).get("code", 0),
        forbidden=decision == "forbid",
        line=raw.decode().rstrip(),
    )


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino
