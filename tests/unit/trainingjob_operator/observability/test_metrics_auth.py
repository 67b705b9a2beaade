"""The cache of token reviews, its TTLs, and the rate limit of reviews for unknown tokens."""

import asyncio
from http import HTTPStatus

import pytest

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.observability.metrics_auth import (
    ALLOWED_S,
    MAX_ALLOWED,
    MAX_REFUSED,
    NEW_TOKEN_BURST,
    REFUSED_S,
    STALE_ALLOWED_S,
    MetricsAuthorizer,
)


class Cluster:
    """Reviews tokens by their first word, on a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.is_silent = False
        self.callers = MetricsAuthorizer(self.review, monotonic=lambda: self.now)

    async def review(self, token: str) -> bool | None:
        self.asked.append(token)
        await self.answers.wait()
        if self.is_silent:
            raise KubernetesError("no answer")
        return {"good": True, "poor": False}.get(token.split("-", maxsplit=1)[0])

    async def ask(self, token: str) -> HTTPStatus:
        return await self.callers.status_of(f"Bearer {token}")

    @property
    def known(self) -> int:
        [bound] = self.callers.bounds
        assert bound.used <= bound.limit == MAX_ALLOWED + MAX_REFUSED
        return bound.used


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic good", "good"])
async def test_a_request_without_a_token_costs_no_review(cluster: Cluster, header: str) -> None:
    assert await cluster.callers.status_of(header) is HTTPStatus.UNAUTHORIZED
    assert cluster.asked == []
    assert cluster.known == 0


async def test_reviews_are_cached_for_their_ttl(cluster: Cluster) -> None:
    tokens = {
        "good": HTTPStatus.OK,
        "poor": HTTPStatus.FORBIDDEN,
        "forged": HTTPStatus.UNAUTHORIZED,
    }
    for _ in range(3):
        for token, status in tokens.items():
            assert await cluster.ask(token) is status
    assert cluster.asked == list(tokens)
    cluster.now += REFUSED_S
    for token, status in tokens.items():
        assert await cluster.ask(token) is status
    assert cluster.asked == [*tokens, "poor", "forged"]
    cluster.now += ALLOWED_S - REFUSED_S
    assert await cluster.ask("good") is HTTPStatus.OK
    assert cluster.asked[-1] == "good"


async def test_a_revoked_right_is_noticed_at_the_next_review(cluster: Cluster) -> None:
    assert await cluster.ask("good") is HTTPStatus.OK
    cluster.callers._review = lambda _: asyncio.sleep(0, False)  # type: ignore[misc]
    cluster.now += ALLOWED_S
    assert await cluster.ask("good") is HTTPStatus.FORBIDDEN
    assert cluster.known == 1


async def test_a_flood_of_unknown_tokens_is_rate_limited_and_allowed_callers_are_served(
    cluster: Cluster,
) -> None:
    assert await cluster.ask("good") is HTTPStatus.OK
    begun = len(cluster.asked)
    seconds = 120
    for second in range(seconds):
        cluster.now += 1
        for number in range(20):
            await cluster.ask(f"forged-{second}-{number}")
        assert await cluster.ask("good") is HTTPStatus.OK
        assert cluster.known <= MAX_ALLOWED + MAX_REFUSED
    strangers = [token for token in cluster.asked[begun:] if token != "good"]
    assert len(strangers) <= NEW_TOKEN_BURST + seconds
    assert cluster.asked[begun:].count("good") == seconds // int(ALLOWED_S)
    assert await cluster.ask("forged-again") is HTTPStatus.TOO_MANY_REQUESTS


async def test_refused_tokens_do_not_evict_allowed_callers(
    cluster: Cluster,
) -> None:
    assert await cluster.ask("good") is HTTPStatus.OK
    for number in range(2 * MAX_REFUSED):
        cluster.now += 1
        await cluster.ask(f"forged-{number}")
    assert cluster.known == 1 + MAX_REFUSED
    for number in range(2 * MAX_ALLOWED):
        cluster.now += 1
        await cluster.ask(f"good-{number}")
    assert cluster.known == MAX_ALLOWED + MAX_REFUSED


async def test_concurrent_requests_with_one_token_share_a_review_that_a_disconnect_does_not_cancel(
    cluster: Cluster,
) -> None:
    cluster.answers.clear()
    first, *others = (asyncio.create_task(cluster.ask("good")) for _ in range(20))
    await asyncio.sleep(0)
    first.cancel()
    cluster.answers.set()
    assert set(await asyncio.gather(*others)) == {HTTPStatus.OK}
    assert first.cancelled()
    assert cluster.asked == ["good"]
    assert not cluster.callers._running


async def test_while_the_api_server_is_silent_allowed_callers_stay_allowed_for_ten_minutes(
    cluster: Cluster,
) -> None:
    assert await cluster.ask("good") is HTTPStatus.OK
    cluster.is_silent = True
    assert await cluster.ask("good-other") is HTTPStatus.SERVICE_UNAVAILABLE
    cluster.now += STALE_ALLOWED_S - 1
    assert await cluster.ask("good") is HTTPStatus.OK
    cluster.now += 2
    assert await cluster.ask("good") is HTTPStatus.SERVICE_UNAVAILABLE
    cluster.is_silent = False
    assert await cluster.ask("good") is HTTPStatus.OK


async def test_stop_cancels_running_reviews(cluster: Cluster) -> None:
    cluster.answers.clear()
    waiting = asyncio.create_task(cluster.ask("good"))
    await asyncio.sleep(0)
    await cluster.callers.stop()
    assert not cluster.callers._running
    with pytest.raises(asyncio.CancelledError):
        await waiting
