"""One watch over a real connection: opened, refused, silent, broken."""

from collections.abc import AsyncIterator

import pytest

from tests.support.apiserver.scripted_watch import Answer, ScriptedPods, scripted_pods
from trainingjob_api.errors import (
    ForbiddenError,
    GoneError,
    NotServedError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.kube.request_counts import RequestCounts
from trainingjob_operator.kube.watch_client import WatchClient

PATH = "/api/v1/pods"


@pytest.fixture
async def pods() -> AsyncIterator[ScriptedPods]:
    async with scripted_pods() as pods:
        yield pods


@pytest.fixture
def requests() -> RequestCounts:
    return RequestCounts()


@pytest.fixture
async def client(pods: ScriptedPods, requests: RequestCounts) -> AsyncIterator[WatchClient]:
    client = WatchClient(pods.connection, requests, silence_s=1.0)
    yield client
    await client.close()


async def lines_of(client: WatchClient) -> list[bytes | None]:
    async with client.watch(PATH, {"resourceVersion": "7"}) as lines:
        return [line async for line in lines]


async def test_a_watch_yields_the_lines_of_the_response_until_the_server_ends_it(
    pods: ScriptedPods, client: WatchClient, requests: RequestCounts
) -> None:
    pods.watches.append(Answer((b"one", b"two")))
    assert await lines_of(client) == [b"one", b"two"]
    assert (pods.asked[0]["watch"], pods.asked[0]["resourceVersion"]) == ("true", "7")
    assert requests.by_verb_and_code == {("watch", "2xx"): 1}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, ForbiddenError),
        (404, NotServedError),
        (410, GoneError),
        (429, ThrottledError),
        (500, UnavailableError),
    ],
)
async def test_an_error_response_raises_one_of_our_errors(
    pods: ScriptedPods,
    client: WatchClient,
    requests: RequestCounts,
    status: int,
    error: type[Exception],
) -> None:
    pods.watches.append(Answer(status=status, message="no"))
    with pytest.raises(error):
        await lines_of(client)
    assert requests.by_verb_and_code == {("watch", f"{status // 100}xx"): 1}


async def test_a_silent_connection_counts_as_broken(
    pods: ScriptedPods, client: WatchClient
) -> None:
    pods.watches.append(Answer((b"one",), then="silence"))
    with pytest.raises(UnavailableError):
        await lines_of(client)


async def test_a_broken_connection_raises_one_of_our_errors(
    pods: ScriptedPods, client: WatchClient
) -> None:
    pods.watches.append(Answer((b"one",), then="break"))
    with pytest.raises(UnavailableError):
        await lines_of(client)


async def test_an_unreachable_server_raises_one_of_our_errors(
    pods: ScriptedPods, client: WatchClient, requests: RequestCounts
) -> None:
    pods.connection.configuration.host = "http://127.0.0.1:1"
    with pytest.raises(UnavailableError):
        await lines_of(client)
    assert requests.by_verb_and_code == {("watch", "none"): 1}


async def test_each_watch_sends_the_current_token(pods: ScriptedPods, client: WatchClient) -> None:
    for token in ("old", "new"):
        pods.connection.configuration.api_key["BearerToken"] = f"Bearer {token}"
        pods.watches.append(Answer())
        await lines_of(client)
    assert [each["token"] for each in pods.asked] == ["Bearer old", "Bearer new"]


async def test_an_exception_of_the_reader_propagates_and_closes_the_watch(
    pods: ScriptedPods, client: WatchClient
) -> None:
    pods.watches.append(Answer((b"one",), then="silence"))
    with pytest.raises(GoneError):
        async with client.watch(PATH, {}):
            raise GoneError("it said so")
