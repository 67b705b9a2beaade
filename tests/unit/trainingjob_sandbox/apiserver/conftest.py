"""Fixtures: a new store, and a new server with a client, for every test."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from hack.ports import free_port
from tests.unit.trainingjob_sandbox.apiserver.http import Client
from tests.unit.trainingjob_sandbox.apiserver.widgets import CRD, Cluster
from trainingjob_sandbox.apiserver import ApiServer


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    server = ApiServer([CRD], bookmark_interval_s=0.05)
    await server.start(port=free_port())  # one that is still free when it starts again
    yield server
    await server.stop()


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(server.url) as session:
        yield Client(session)
