"""Limits of followed logs: in total, and per user with any number of tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.console.log_server import LogServer, log_server, user
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import BusyError
from trainingjob_console.logs.follower_pool import FollowerPool
from trainingjob_console.logs.pods import PodLog, logs_of_job

ANNA, BEN = user("anna"), user("ben")
ANNA_AGAIN = Caller("anna", token="again", key="again")


def full() -> BusyError:
    return BusyError("too many logs are followed")


@asynccontextmanager
async def following(folder: Path, limit: int) -> AsyncIterator[tuple[FollowerPool, list[PodLog]]]:
    """Yield a follower pool, and the logs of a job of twelve ranks."""
    async with log_server(folder, ranks=12) as server:
        followers = FollowerPool(server.kube, limit=limit, linger_s=60)
        try:
            yield followers, await logs_of(server)
        finally:
            await followers.close()


async def logs_of(server: LogServer) -> list[PodLog]:
    return await logs_of_job(server.kube, "anna", "ml", server.uid)


async def test_two_tokens_of_one_user_share_one_quota_and_others_have_the_rest(
    tmp_path: Path,
) -> None:
    async with following(tmp_path, 12) as (followers, logs):
        seats = [
            followers.enter(log, caller, full)
            for log, caller in zip(logs, (ANNA, ANNA_AGAIN, ANNA), strict=False)
        ]
        for caller in (ANNA, ANNA_AGAIN):
            with pytest.raises(BusyError, match="you follow too many logs"):
                followers.enter(logs[3], caller, full)
        followers.enter(logs[0], ANNA, full)  # one more reader of what is followed already
        followers.enter(logs[3], BEN, full)
        followers.enter(logs[3], ANNA, full)
        assert len(followers) == 4
        # A follower that a user leaves to others no longer counts for that user.
        followers.enter(logs[1], BEN, full)
        followers.leave(seats[1])
        followers.enter(logs[4], ANNA, full)


async def test_followers_without_readers_do_not_count_against_the_limit(tmp_path: Path) -> None:
    async with following(tmp_path, 8) as (followers, logs):
        for log in logs:
            followers.leave(followers.enter(log, ANNA, full))
        assert len(followers) == 2
        for number, name in enumerate(("ben", "cleo", "dora")):
            for log in logs[2 * number : 2 * number + 2]:
                followers.enter(log, user(name), full)
        assert len(followers) == 8
        followers.enter(logs[6], user("eve"), full)
        followers.enter(logs[7], user("eve"), full)
        assert len(followers) == 8
        with pytest.raises(BusyError, match="too many logs are followed"):
            followers.enter(logs[8], user("fred"), full)
