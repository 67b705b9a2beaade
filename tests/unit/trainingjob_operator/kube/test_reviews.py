"""The reviews that the API server receives, and the meaning of its responses."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.reviews import ReviewGateway

USER = {
    "username": "system:serviceaccount:monitoring:prometheus",
    "uid": "1",
    "groups": ["system:authenticated"],
    "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
}
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

Object = dict[str, Any]


class Server:
    """Responds to each review with the status that a test sets; None: with an error."""

    def __init__(self) -> None:
        self.status: dict[str, Object | None] = {
            TOKENS: {"authenticated": True, "user": USER},
            ACCESS: {"allowed": True},
        }
        self.asked: list[tuple[str, Object]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.path, body["spec"]))
        status = self.status[request.path]
        if status is None:
            return web.json_response({"message": "no"}, status=500)
        return web.json_response(body | {"status": status}, status=201)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def reviews(server: Server) -> AsyncIterator[ReviewGateway]:
    app = web.Application()
    app.router.add_post("/{path:.*}", server.answer)
    async with TestServer(app) as running:
        configuration = Configuration(host=str(running.make_url("")))
        async with ReviewGateway(Connection(configuration, "default")) as gateway:
            yield gateway


async def test_a_token_is_authenticated_and_its_user_authorized_for_the_path(
    reviews: ReviewGateway, server: Server
) -> None:
    assert await reviews.may_get("t0ken", "/metrics") is True
    (first, token), (second, access) = server.asked
    assert (first, token) == (TOKENS, {"token": "t0ken"})
    assert second == ACCESS
    assert access == {
        "user": USER["username"],
        "uid": USER["uid"],
        "groups": USER["groups"],
        "extra": USER["extra"],
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
    }
    assert "t0ken" not in json.dumps(access)


async def test_an_invalid_token_differs_from_one_without_the_right(
    reviews: ReviewGateway, server: Server
) -> None:
    for refusal in ({"allowed": False}, {}, {"allowed": True, "denied": True}):
        server.status[ACCESS] = refusal
        assert await reviews.may_get("t0ken", "/metrics") is False
    server.status[TOKENS] = {"error": "expired"}
    asked = len(server.asked)
    assert await reviews.may_get("t0ken", "/metrics") is None
    assert len(server.asked) == asked + 1


@pytest.mark.parametrize("path", [TOKENS, ACCESS])
async def test_an_error_of_the_api_server_authorizes_nobody(
    reviews: ReviewGateway, server: Server, path: str
) -> None:
    server.status[path] = None
    with pytest.raises(KubernetesError) as failure:
        await reviews.may_get("t0ken", "/metrics")
    assert "t0ken" not in str(failure.value)
