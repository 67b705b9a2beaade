"""Who is let in, for how long, and what a flood of tokens costs the API server."""

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
    """Reviews tokens as their first word says, on a clock that is set."""

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
async def test_who_shows_no_token_costs_no_review(cluster: Cluster, header: str) -> None:
    assert await cluster.callers.status_of(header) is HTTPStatus.UNAUTHORIZED
    assert cluster.asked == []
    assert cluster.known == 0


async def test_answers_are_remembered_for_a_while_and_no_longer(cluster: Cluster) -> None:
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


async def test_a_right_that_is_taken_away_is_gone_with_the_next_review(cluster: Cluster) -> None:
    assert await cluster.ask("good") is HTTPStatus.OK
    cluster.callers._review = lambda _: asyncio.sleep(0, False)  # type: ignore[misc]
    cluster.now += ALLOWED_S
    assert await cluster.ask("good") is HTTPStatus.FORBIDDEN
    assert cluster.known == 1


async def test_a_flood_of_tokens_costs_a_few_reviews_and_shuts_nobody_out(
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


async def test_a_caller_with_many_tokens_pushes_out_none_that_was_let_in(
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


async def test_many_at_once_with_one_token_are_one_review_and_one_that_leaves_ends_no_other(
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


async def test_while_the_api_server_is_silent_who_was_let_in_stays_for_ten_minutes(
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


async def test_what_is_under_way_ends_with_the_server(cluster: Cluster) -> None:
    cluster.answers.clear()
    waiting = asyncio.create_task(cluster.ask("good"))
    await asyncio.sleep(0)
    await cluster.callers.stop()
    assert not cluster.callers._running
    with pytest.raises(asyncio.CancelledError):
        await waiting
