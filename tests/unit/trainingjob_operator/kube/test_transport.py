"""Requests as the API server receives them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.transport import Transport

LIMITS = aiohttp.ClientTimeout(total=30)


class Exchange:
    """A server with a base path, and the requests that it received."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return web.json_response({})


@pytest.fixture
async def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
async def transport(exchange: Exchange) -> AsyncIterator[Transport]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.answer)
    async with TestServer(app) as server:
        configuration = Configuration(host=str(server.make_url("/clusters/one")))
        configuration.api_key["BearerToken"] = "Bearer first"
        transport = Transport(Connection(configuration, "default"), connections=2)
        yield transport
        await transport.close()


async def send(transport: Transport, method: str, **more: Any) -> None:
    response = await transport.send(method, "/api/v1/pods", limits=LIMITS, **more)
    await response.read()


async def test_query_parameters_are_encoded_and_the_servers_base_path_is_kept(
    transport: Transport, exchange: Exchange
) -> None:
    query = {"labelSelector": "a=b,c in (d)", "continue": "e+/=&f"}
    await send(transport, "GET", query=query)
    [request] = exchange.requests
    assert (request.method, request.path) == ("GET", "/clusters/one/api/v1/pods")
    assert dict(request.query) == query
    assert (request.headers["Accept"], exchange.bodies) == ("application/json", [b""])
    assert request.headers["User-Agent"] == "trainingjob-operator"


@pytest.mark.parametrize("body", [{"a": None, "b": "ü \u2028"}, [{"op": "test"}], {}])
async def test_a_body_arrives_whole_with_its_type(
    transport: Transport, exchange: Exchange, body: object
) -> None:
    await send(transport, "PATCH", body=body, content_type="application/merge-patch+json")
    [request] = exchange.requests
    assert json.loads(exchange.bodies[0]) == body
    assert request.headers["Content-Type"] == "application/merge-patch+json"


async def test_each_request_has_the_current_token(
    transport: Transport, exchange: Exchange
) -> None:
    await send(transport, "GET")
    transport._connection.configuration.api_key["BearerToken"] = "Bearer second"
    await send(transport, "GET")
    tokens = [each.headers["Authorization"] for each in exchange.requests]
    assert tokens == ["Bearer first", "Bearer second"]


async def test_a_connection_is_used_again(transport: Transport, exchange: Exchange) -> None:
    for _ in range(3):
        await send(transport, "GET")
    assert len({id(each.protocol) for each in exchange.requests}) == 1
