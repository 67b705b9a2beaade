"""Token reviews: look-ups of unknown tokens wait in a bounded queue; refusals have their own TTL."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.console.log_server import log_server, user
from tests.support.console.stalled_process import StalledLoop, unread_response
from trainingjob_console.access.subject_reviews import SubjectReviews
from trainingjob_console.errors import BusyError, UnauthorizedError


async def test_a_flood_of_unknown_tokens_is_refused_at_once(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        server.answers.clear()
        server.unknown = {f"nobody-{number}" for number in range(400)}
        reviews = SubjectReviews(server.kube)
        asked = [asyncio.create_task(reviews.authenticate(token)) for token in server.unknown]
        await asyncio.sleep(0)  # each has started, and is queued or refused
        assert len(reviews.unknown) == 64
        assert len(reviews.owners._asked) == 64
        with pytest.raises(BusyError, match="too many log-ins"):
            await reviews.authenticate("anna")
        server.answers.set()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, UnauthorizedError) for each in ended) == 64
        assert len(reviews.unknown) == 0
        assert (await reviews.authenticate("anna")).name == "anna"


async def test_a_refused_list_right_has_the_ttl_of_answers_and_other_refusals_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with log_server(tmp_path) as server:
        asked: list[Any] = []

        async def refuse(method: str, path: str, *, body: Any, **_: Any) -> Any:
            asked.append(body["spec"]["resourceAttributes"])
            return {"status": {"allowed": False}}

        monkeypatch.setattr(server.kube, "call", refuse)
        reviews = SubjectReviews(server.kube, fresh_s=3600.0, refused_s=0.0)
        for _ in range(2):
            for namespace in ("ml", "of-others"):
                for verb in ("list", "patch"):
                    attributes = {"group": "g", "resource": "jobs", "subresource": ""}
                    assert not await reviews.is_allowed(
                        user("anna"), verb, namespace=namespace, **attributes
                    )
        assert [each["verb"] for each in asked].count("list") == 2
        assert [each["verb"] for each in asked].count("patch") == 4


async def test_a_review_that_arrived_while_the_process_was_stalled_authenticates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill, was_asked, was_read = StalledLoop(monkeypatch), asyncio.Event(), asyncio.Event()

    async def call(*_: Any, **__: Any) -> Any:
        was_asked.set()
        await was_read.wait()
        return {"status": {"userInfo": {"username": "anna"}}}

    kube: Any = SimpleNamespace(call=call)
    with unread_response(was_read) as answer:
        asking = asyncio.create_task(SubjectReviews(kube).authenticate("of-anna"))
        await was_asked.wait()
        answer.arrive()
        standstill.lasts(600)
        assert (await asking).name == "anna"
