"""WebSockets of browsers on a real server."""

import asyncio
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from tests.support.console.hub import RunningHub, fake_job, running_hub
from tests.support.console.raw_socket import RawSocket
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import ForbiddenError, UnauthorizedError
from trainingjob_console.sockets.hub import SocketSession
from trainingjob_console.sockets.limits import (
    MAX_JOBS_SUBSCRIPTIONS,
    MAX_SUBSCRIPTIONS,
    Limits,
)

JOBS = {"type": "sub", "id": 1, "kind": "jobs"}
QUICK = Limits(ping=0.3, pong=0.3, send=0.5, recheck=0.2)


async def until(true: Any, *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


def nothing_is_left(running: RunningHub) -> bool:
    hub = running.hub
    return (
        hub.admission.used == len(hub.topics) == len(hub.budget) == hub.budget.used == 0
        and not hub.admission.users
        and not hub.admission.addresses
        and not running.logs.rings
        and not running.samples.queues
        and len(running.connections) == 0
        and not running.server.server_state.connections
        and not running.server.server_state.tasks
    )


async def test_a_page_resumes_at_the_position_of_its_list_and_leaves_no_resources() -> None:
    async with running_hub() as running:
        index = running.index
        index.put(fake_job("1"))
        position = index.position
        index.put(fake_job("2"))
        index.put(fake_job("1", phase="Failed", version=2))
        page = await RawSocket.connect(running.port)
        assert page.status == 101
        assert "sec-websocket-protocol: trainingjob.v1" in page.head.lower()
        await page.send({**JOBS, "position": position})
        missed = await page.receive_kind("delta")
        assert {row["uid"]: row["phase"] for row in missed["rows"]} == {
            "1": "Failed",
            "2": "Running",
        }
        assert missed["seq"] == index.position
        assert (missed["counts"], missed["total"]) == ({"Failed": 1, "Running": 1}, 2)
        index.remove("2")
        assert (await page.receive_kind("delta"))["gone"] == ["2"]
        assert (len(running.hub.topics), len(running.hub.budget)) == (1, 1)
        await page.send({"type": "unsub", "id": 1})
        assert (await page.receive_kind("end"))["reason"] == "unsubscribed"
        assert (len(running.hub.topics), len(running.hub.budget)) == (0, 0)
        await page.send({**JOBS, "position": "another:1"})
        assert (await page.receive_kind("resync"))["id"] == 1
        await page.send({**JOBS, "position": index.position})
        page.close()
        await until(lambda: nothing_is_left(running))


async def test_many_changes_of_a_job_are_one_frame_and_too_many_jobs_a_resync() -> None:
    async with running_hub(Limits(status_rows=10, coalesce=0.1)) as running:
        page = await RawSocket.connect(running.port)
        await page.send({**JOBS, "position": running.index.position})
        await until(lambda: len(running.hub.topics) == 1)
        for n in range(50):
            running.index.put(fake_job("1", version=n))
        [row] = (await page.receive_kind("delta"))["rows"]
        assert row["resourceVersion"] == "49"
        for n in range(11):
            running.index.put(fake_job(f"more-{n}"))
        await page.receive_kind("resync")
        assert (len(running.hub.topics), len(running.hub.budget)) == (0, 0)
        page.close()


async def test_a_log_is_followed_with_its_gaps_and_its_end() -> None:
    async with running_hub(Limits(ring_lines=4)) as running:
        page = await RawSocket.connect(running.port)
        for number in (1, 2, 3):
            await page.send(
                {"type": "sub", "id": number, "kind": "logs", "uid": "u", "source": "s"}
            )
        error = await page.receive_kind("error")
        assert (error["id"], error["reason"]) == (3, "ServiceUnavailable")
        await until(lambda: len(running.logs.rings) == 2)
        for n in range(6):  # in one step: the writer cannot come between
            running.logs.write(n * 2, "x\n")
        gap = await page.receive_kind("gap")
        assert (gap["from"], gap["to"], gap["lines"]) == (0, 4, 2)
        losses = running.hub.losses
        assert (losses.gaps, losses.lines) == ({"slow": 2}, {"slow": 4})  # of both
        pieces = [await page.receive_kind("log") for _ in range(4)]
        assert {(each["offset"], each["text"]) for each in pieces} >= {(4, "x\n")}
        running.logs.ended.set()
        assert (await page.receive_kind("end"))["reason"] == "finished"
        await page.send({"type": "sub", "id": 9, "kind": "housekeeping"})
        assert (await page.receive_kind("delta"))["sample"] == {"t": 1}
        page.reset()
        await until(lambda: nothing_is_left(running))


async def test_sockets_above_the_limit_are_rejected_before_the_upgrade(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(sockets=3, sockets_per_user=2, sockets_per_address=4)
    async with running_hub(limits) as running:
        running.access.refused = {"eve"}
        users = ("eve", "anna", "anna", "anna", "bob", "carl")
        pages = [await RawSocket.connect(running.port, f"/ws?user={user}") for user in users]
        assert [page.status for page in pages] == [401, 101, 101, 503, 101, 503]
        assert "retry-after: 5" in pages[3].head.lower()
        assert running.hub.admission.refused == {"all": 1, "user": 1, "rights": 1}
        assert running.hub.admission.used == 3
        pages[1].close()
        await until(lambda: running.hub.admission.used == 2)
        again = await RawSocket.connect(running.port)
        assert again.status == 101
        other = await RawSocket.connect(running.port, origin="https://elsewhere.example")
        assert other.status == 403
        assert not caplog.records
        for page in (*pages, again, other):
            page.close()


@pytest.mark.parametrize(
    "frames",
    [["no json"], ["[]"], ['{"type":"sub","id":-1,"kind":"jobs"}'], ['{"type":"pong"}'] * 100],
    ids=["text", "list", "id", "flood"],
)
async def test_a_client_that_violates_the_protocol_is_closed(frames: list[str]) -> None:
    async with running_hub() as running:
        page = await RawSocket.connect(running.port)
        for frame in frames:
            try:
                await page.send(frame)
            except OSError:
                break
        assert await page.receive() is None
        assert page.close_code == 1008
        page.close()
        await until(lambda: nothing_is_left(running))


async def test_the_next_ping_is_sent_after_the_last_pong() -> None:
    async with (
        running_hub(Limits(ping=0.1, pong=60.0)) as running,
        asyncio.timeout(20),
    ):
        page = await RawSocket.connect(running.port)
        for _ in range(3):
            await page.receive_kind("ping")
            await page.send({"type": "pong"})
        page.close()


async def test_a_socket_without_pongs_is_closed_and_one_with_pongs_stays_open() -> None:
    async with running_hub(QUICK) as running:
        dead, living = [await RawSocket.connect(running.port) for _ in range(2)]
        for _ in range(4):
            await living.receive_kind("ping")
            await living.send({"type": "pong"})
        # It answers pings until the other one is closed, which is seconds later.
        answering = asyncio.create_task(living.receive_kind("no such", 60.0))
        await until(lambda: running.hub.closed == {"no-pong": 1})
        while await dead.receive() is not None:
            pass
        assert dead.close_code == 1011
        await until(lambda: running.hub.admission.used == 1)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        dead.close()
        living.close()


async def test_frames_of_a_page_are_handled_while_the_api_server_delays_a_list() -> None:
    async with running_hub(Limits(ping=0.2, pong=1.0)) as running, asyncio.timeout(30):
        page = await RawSocket.connect(running.port)
        running.access.tells.clear()
        for number in range(1, 4):
            await page.send({**JOBS, "id": number, "position": running.index.position})
        for _ in range(3):  # its answers are heard
            await page.receive_kind("ping")
            await page.send({"type": "pong"})
        await page.send({"type": "sub", "id": 9, "kind": "housekeeping"})
        assert (await page.receive_kind("delta"))["id"] == 9
        await page.send({"type": "unsub", "id": 2})
        assert (await page.receive_kind("end"))["id"] == 2
        running.access.tells.set()
        # The id can be used again, whatever happened to the first subscription.
        await page.send({**JOBS, "id": 2, "position": running.index.position})
        await until(lambda: len(running.hub.budget) == 4)
        assert len(running.hub.topics) == 1  # one list, for all three
        page.close()
        await until(lambda: nothing_is_left(running))


async def test_lists_being_opened_count_against_the_limit() -> None:
    async with running_hub() as running, asyncio.timeout(30):
        page = await RawSocket.connect(running.port)
        running.access.tells.clear()
        for number in range(MAX_JOBS_SUBSCRIPTIONS + 1):
            await page.send({**JOBS, "id": number, "position": running.index.position})
        refused = await page.receive_kind("error")
        assert (refused["id"], refused["reason"]) == (
            MAX_JOBS_SUBSCRIPTIONS,
            "ServiceUnavailable",
        )
        await page.send({**JOBS, "id": 0})
        assert (await page.receive_kind("error"))["reason"] == "Conflict"
        for number in range(10, 10 + MAX_SUBSCRIPTIONS):
            await page.send({"type": "sub", "id": number, "kind": "housekeeping"})
        for _ in range(MAX_JOBS_SUBSCRIPTIONS):
            await page.receive_kind("error")
        left = MAX_SUBSCRIPTIONS - MAX_JOBS_SUBSCRIPTIONS
        await until(lambda: len(running.samples.queues) == left)
        page.close()
        await until(lambda: nothing_is_left(running))


async def test_a_socket_that_closes_while_a_list_is_opened_leaves_no_resources() -> None:
    async with running_hub() as running, asyncio.timeout(30):
        running.access.tells.clear()
        page = await RawSocket.connect(running.port)
        await page.send({**JOBS, "position": running.index.position})
        await page.send({"type": "sub", "id": 9, "kind": "housekeeping"})
        await page.receive_kind("delta")
        page.reset()
        await until(lambda: nothing_is_left(running))


async def test_revoked_rights_end_lists_and_sockets() -> None:
    async with running_hub(QUICK) as running:
        running.index.put(fake_job("1", namespace="a"))
        page = await RawSocket.connect(running.port)
        await page.send({**JOBS, "position": running.index.position})
        await until(lambda: len(running.hub.topics) == 1)
        running.access.namespaces = {"b"}
        await page.receive_kind("resync")
        running.access.refused = {"anna"}
        while await page.receive() is not None:
            pass
        assert page.close_code == 1008
        assert running.hub.closed == {"rights": 1}
        page.close()


@pytest.mark.parametrize("seen_by", ["log", "list"])
async def test_an_expired_token_closes_the_socket_whichever_check_detects_it(
    seen_by: str,
) -> None:
    """The page reconnects with a new one: behind a proxy that sends the token, no log-in is needed."""
    async with running_hub() as running:
        page = await RawSocket.connect(running.port)
        if seen_by == "log":
            await page.send({"type": "sub", "id": 1, "kind": "logs", "uid": "u", "source": "s"})
            await until(lambda: running.logs.rings)
            running.logs.refusal = UnauthorizedError("log in")
            running.logs.ended.set()
        else:
            running.access.expired = {"anna"}
            await page.send(JOBS)
        assert await page.receive() is None
        assert (page.close_code, page.close_reason) == (1008, "rights")
        assert running.access.forgotten == ["anna"]
        page.close()
        await until(lambda: nothing_is_left(running))


async def test_a_forbidden_log_ends_only_its_own_subscription() -> None:
    async with running_hub() as running:
        page = await RawSocket.connect(running.port)
        await page.send({"type": "sub", "id": 1, "kind": "logs", "uid": "u", "source": "s"})
        await until(lambda: running.logs.rings)
        running.logs.refusal = ForbiddenError("you may not")
        running.logs.ended.set()
        assert (await page.receive_kind("error"))["reason"] == "Forbidden"
        await page.send({"type": "sub", "id": 9, "kind": "housekeeping"})
        assert (await page.receive_kind("delta"))["sample"] == {"t": 1}
        page.close()
        await until(lambda: nothing_is_left(running))


async def test_rights_that_cannot_be_checked_close_a_socket_after_a_while_and_not_before() -> None:
    for unsure, ends in ((3600.0, False), (0.3, True)):
        async with running_hub(Limits(recheck=0.05, unsure=unsure)) as running:
            page = await RawSocket.connect(running.port)
            await page.send({**JOBS, "position": running.index.position})
            await until(lambda found=running: len(found.hub.topics) == 1)
            running.access.busy = True
            if ends:
                assert await page.receive() is None
                assert (page.close_code, page.close_reason) == (1008, "rights")
                assert running.hub.closed == {"rights": 1}
            else:
                before = running.access.asked
                await until(lambda found=running, asked=before: found.access.asked > asked + 8)
                assert running.hub.admission.used == 1
            page.close()


async def test_one_successful_check_in_time_keeps_the_socket_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_hub() as running:
        asked = HTTPConnection({"type": "http", "query_string": b"", "headers": []})
        access: Any = running.access
        session = SocketSession(running.hub, access, Caller("anna"), asked)
        begun, stays = asyncio.get_running_loop().time(), []
        for seconds, busy in ((30, True), (59, False), (100, True), (118, True), (120, True)):
            monkeypatch.setattr(session, "_clock", lambda now=begun + seconds: now)
            running.access.busy = busy
            stays.append(await session.recheck())
        assert stays == [True, True, True, True, False]


async def test_a_log_out_closes_all_sockets_of_the_user_and_those_being_accepted() -> None:
    async with running_hub() as running:
        users = ("anna", "anna", "bob")
        tabs = [await RawSocket.connect(running.port, f"/ws?user={user}") for user in users]
        running.access.answers.clear()
        late = asyncio.create_task(RawSocket.connect(running.port))
        await until(lambda: running.access.asked == 4)
        running.access.log_out("anna")
        running.access.answers.set()
        assert (await late).status == 401
        for tab in tabs[:2]:
            assert await tab.receive() is None
            assert (tab.close_code, tab.close_reason) == (1008, "logged-out")
        assert running.hub.closed == {"logged-out": 2}
        await tabs[2].send({"type": "sub", "id": 1, "kind": "housekeeping"})
        await tabs[2].receive_kind("delta")
        again = await RawSocket.connect(running.port)
        assert again.status == 101
        for tab in (*tabs, again, late.result()):
            tab.close()
        await until(lambda: nothing_is_left(running))


async def test_a_restart_closes_sockets_with_1012_and_waits_for_no_client() -> None:
    async with running_hub() as running:
        page, deaf = [await RawSocket.connect(running.port) for _ in range(2)]
        await deaf.send({**JOBS, "position": running.index.position})
        running.server.should_exit = True
        assert await page.receive() is None
        assert page.close_code == 1012
        await until(lambda: running.hub.admission.used == 0)
        await until(lambda: running.hub.closed == {"shutdown": 2})
        page.close()
        deaf.close()


async def test_a_user_with_many_tokens_has_one_share_of_the_sockets() -> None:
    async with running_hub(Limits(sockets_per_user=2)) as running:
        pages = [
            await RawSocket.connect(running.port, f"/ws?user=anna&token={number}")
            for number in range(4)
        ]
        assert [page.status for page in pages] == [101, 101, 503, 503]
        assert running.hub.admission.users == {"anna": 2}
        other = await RawSocket.connect(running.port, "/ws?user=ben&token=5")
        assert other.status == 101
        # A log-out is for one token, and closes no socket of another.
        running.hub.log_out("0")
        while await pages[0].receive() is not None:
            pass
        await until(lambda: running.hub.admission.users == {"anna": 1, "ben": 1})
        assert running.hub.closed == {"logged-out": 1}
        for page in (*pages, other):
            page.close()
