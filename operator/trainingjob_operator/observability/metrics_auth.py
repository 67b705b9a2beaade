"""Authorizes callers of `/metrics` by their bearer token; caches and rate-limits the token reviews.

Any client that reaches the port can send tokens. Bound: a cache of `MAX_ALLOWED` allowed and one of
`MAX_REFUSED` refused callers; each evicts the caller whose review is oldest. Reviews of unknown
tokens are limited by a token bucket for all clients together: `NEW_TOKEN_BURST` at once, then one a
second; further ones get 429. An allowed caller is reviewed again once a minute, which does not count
towards that limit. The cache holds a token's digest, never the token.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.core.bounded import Bound

MAX_ALLOWED: Final = 64
"""Allowed callers in the cache: a cluster has a few Prometheus servers."""
MAX_REFUSED: Final = 256
"""Refused callers in the cache."""
NEW_TOKEN_BURST: Final = 8
"""Reviews of unknown tokens in a burst; then one a second."""
ALLOWED_S: Final = 60.0
"""TTL of an allowed caller in the cache, in seconds."""
REFUSED_S: Final = 10.0
"""TTL of a refused caller in the cache, in seconds."""
STALE_ALLOWED_S: Final = 600.0
"""Seconds for which a caller stays allowed while the API server does not answer: that is when the
metrics matter most."""

Review = Callable[[str], Awaitable[bool | None]]
"""Reviews a token. True: its user may read the metrics; False: it may not; None: the token is not
valid. Raises KubernetesError."""


@dataclass(slots=True)
class _Known:
    status: HTTPStatus
    reviewed_at: float


class MetricsAuthorizer:
    """Decides by its token if a caller may read the metrics."""

    def __init__(self, review: Review, *, monotonic: Callable[[], float]) -> None:
        """Start with no caller known.

        Args:
            review: reviews a token at the API server.
            monotonic: returns seconds of a monotonic clock.
        """
        self._review: Final = review
        self._monotonic: Final = monotonic
        self._allowed: Final[OrderedDict[bytes, _Known]] = OrderedDict()
        self._refused: Final[OrderedDict[bytes, _Known]] = OrderedDict()
        self._running: Final[dict[bytes, asyncio.Task[HTTPStatus]]] = {}
        self._permits = float(NEW_TOKEN_BURST)
        self._refilled_at = monotonic()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        known = len(self._allowed) + len(self._refused)
        return (Bound("metrics_callers", known, MAX_ALLOWED + MAX_REFUSED),)

    async def status_of(self, authorization: str) -> HTTPStatus:
        """Return the HTTP status for a caller with this Authorization header: 200, or an error."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return HTTPStatus.UNAUTHORIZED
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._allowed.get(digest) or self._refused.get(digest)
        if known is not None and self._age(known) < (
            ALLOWED_S if known.status is HTTPStatus.OK else REFUSED_S
        ):
            return known.status
        if (running := self._running.get(digest)) is None:
            if digest not in self._allowed and not self._take_permit():
                return HTTPStatus.TOO_MANY_REQUESTS
            running = asyncio.create_task(self._review_token(digest, token), name="metrics-review")
            self._running[digest] = running
            running.add_done_callback(lambda _: self._running.pop(digest, None))
        # Shielded: a caller that disconnects must not cancel the review for the others.
        return await asyncio.shield(running)

    async def stop(self) -> None:
        """Cancel the reviews that are running."""
        running = tuple(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _age(self, known: _Known) -> float:
        return self._monotonic() - known.reviewed_at

    def _take_permit(self) -> bool:
        """Take a permit for the review of an unknown token from the token bucket, if there is one."""
        now = self._monotonic()
        self._permits = min(NEW_TOKEN_BURST, self._permits + now - self._refilled_at)
        self._refilled_at = now
        if self._permits < 1:
            return False
        self._permits -= 1
        return True

    async def _review_token(self, digest: bytes, token: str) -> HTTPStatus:
        try:
            allowed = await self._review(token)
        except KubernetesError:
            known = self._allowed.get(digest)
            if known is not None and self._age(known) < STALE_ALLOWED_S:
                return HTTPStatus.OK
            return HTTPStatus.SERVICE_UNAVAILABLE
        if allowed:
            self._refused.pop(digest, None)
            _remember(self._allowed, digest, _Known(HTTPStatus.OK, self._monotonic()), MAX_ALLOWED)
            return HTTPStatus.OK
        self._allowed.pop(digest, None)
        status = HTTPStatus.UNAUTHORIZED if allowed is None else HTTPStatus.FORBIDDEN
        _remember(self._refused, digest, _Known(status, self._monotonic()), MAX_REFUSED)
        return status


def _remember(
    known: OrderedDict[bytes, _Known], digest: bytes, caller: _Known, limit: int
) -> None:
    known[digest] = caller
    known.move_to_end(digest)
    if len(known) > limit:
        known.popitem(last=False)
