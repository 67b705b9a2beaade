"""Who may read the metrics: by the reviews of the API server, remembered briefly.

Anybody who reaches the port can send tokens. Bound: `MAX_ALLOWED` callers that were let in and `MAX_REFUSED`
that were not; beyond, the ones not reviewed for longest are forgotten. Tokens that are not known
cost `NEW_TOKEN_BURST` reviews at once and then one a second, whoever sends them; further ones are told to
come again. A caller that was let in is reviewed once a minute, beside that. Of a token only its
digest is kept.
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
"""Callers that were let in: the Prometheus servers of a cluster are a few."""
MAX_REFUSED: Final = 256
"""Callers that were not."""
NEW_TOKEN_BURST: Final = 8
"""Reviews of tokens that are not known, at once; then one a second."""
ALLOWED_S: Final = 60.0
"""Seconds for which a caller is let in without another review."""
REFUSED_S: Final = 10.0
"""Seconds for which it is refused without one."""
STALE_ALLOWED_S: Final = 600.0
"""Seconds for which a caller is let in while the API server does not answer: then it counts what
the metrics say."""

Review = Callable[[str], Awaitable[bool | None]]
"""True: this token's owner may read them; False: it may not; None: it is nobody's token.
Raises KubernetesError."""


@dataclass(slots=True)
class _Known:
    status: HTTPStatus
    reviewed_at: float


class MetricsAuthorizer:
    """Tells by its token whether a caller may read the metrics."""

    def __init__(self, review: Review, *, monotonic: Callable[[], float]) -> None:
        """Start with no caller known.

        Args:
            review: asks the API server.
            monotonic: seconds.
        """
        self._review: Final = review
        self._monotonic: Final = monotonic
        self._allowed: Final[OrderedDict[bytes, _Known]] = OrderedDict()
        self._refused: Final[OrderedDict[bytes, _Known]] = OrderedDict()
        self._running: Final[dict[bytes, asyncio.Task[HTTPStatus]]] = {}
        self._room = float(NEW_TOKEN_BURST)
        self._room_at = monotonic()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        known = len(self._allowed) + len(self._refused)
        return (Bound("metrics_callers", known, MAX_ALLOWED + MAX_REFUSED),)

    async def status_of(self, authorization: str) -> HTTPStatus:
        """Return the status for a caller with this header: OK, or why it is refused."""
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
            if digest not in self._allowed and not self._has_room():
                return HTTPStatus.TOO_MANY_REQUESTS
            running = asyncio.create_task(self._ask(digest, token), name="metrics-review")
            self._running[digest] = running
            running.add_done_callback(lambda _: self._running.pop(digest, None))
        # A caller that goes away ends its own waiting, and not that of others.
        return await asyncio.shield(running)

    async def stop(self) -> None:
        """End the reviews that are under way."""
        running = tuple(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _age(self, known: _Known) -> float:
        return self._monotonic() - known.reviewed_at

    def _has_room(self) -> bool:
        """Take room for one review of a token that is not known, if there is some."""
        now = self._monotonic()
        self._room = min(NEW_TOKEN_BURST, self._room + now - self._room_at)
        self._room_at = now
        if self._room < 1:
            return False
        self._room -= 1
        return True

    async def _ask(self, digest: bytes, token: str) -> HTTPStatus:
        try:
            may = await self._review(token)
        except KubernetesError:
            known = self._allowed.get(digest)
            if known is not None and self._age(known) < STALE_ALLOWED_S:
                return HTTPStatus.OK
            return HTTPStatus.SERVICE_UNAVAILABLE
        if may:
            self._refused.pop(digest, None)
            _remember(self._allowed, digest, _Known(HTTPStatus.OK, self._monotonic()), MAX_ALLOWED)
            return HTTPStatus.OK
        self._allowed.pop(digest, None)
        status = HTTPStatus.UNAUTHORIZED if may is None else HTTPStatus.FORBIDDEN
        _remember(self._refused, digest, _Known(status, self._monotonic()), MAX_REFUSED)
        return status


def _remember(
    known: OrderedDict[bytes, _Known], digest: bytes, caller: _Known, limit: int
) -> None:
    known[digest] = caller
    known.move_to_end(digest)
    if len(known) > limit:
        known.popitem(last=False)
