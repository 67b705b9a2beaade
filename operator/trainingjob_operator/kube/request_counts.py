"""Counts the requests to the API server by verb and by class of status code.

Bound: one number for each pair of a verb and a class of status; there are few of each.
"""

from collections import Counter
from collections.abc import Container
from types import SimpleNamespace
from typing import Final

import aiohttp

NO_ANSWER: Final = "none"

_VERBS: Final = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


class RequestCounts:
    """Counts by Kubernetes verb (`get`, `list`, ...) and class of status: `2xx`, `4xx`, ... or `none`."""

    def __init__(self) -> None:
        self.by_verb_and_code: Final[Counter[tuple[str, ...]]] = Counter()

    def note(self, method: str, parameters: Container[str], status: int | None) -> None:
        """Count a request that has ended.

        Args:
            method: the HTTP method.
            parameters: the names of its query parameters, which tell `list` from `get`.
            status: the HTTP status; None: there was no response.
        """
        code = f"{status // 100}xx" if status is not None else NO_ANSWER
        self.by_verb_and_code[_verb(method, parameters), code] += 1

    def trace(self) -> aiohttp.TraceConfig:
        """Return an aiohttp trace that counts the requests of another component's session."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._answered)
        config.on_request_exception.append(self._unanswered)
        return config

    async def _answered(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        self.note(request.method, request.url.query, request.response.status)

    async def _unanswered(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        self.note(request.method, request.url.query, None)


def _verb(method: str, parameters: Container[str]) -> str:
    if method != "GET":
        return _VERBS.get(method, "other")
    if "watch" in parameters:
        return "watch"
    # Every list of ours is paginated; kopf's are as well (`chunk_size`).
    return "list" if "limit" in parameters else "get"
