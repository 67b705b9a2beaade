"""What kopf, as it is installed, gets when it lists: a version, and no objects of jobs."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kopf._cogs.clients import auth, fetching
from kopf._cogs.structs.credentials import Vault, VaultKey
from kopf._cogs.structs.references import NamespaceName, Resource
from kubernetes.aio.client import Configuration

from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.first_lists import ComparedLists

JOBS = Resource("trainingjob.dev", "v1alpha1", "trainingjobs", namespaced=True)
POLICIES = Resource("trainingjob.dev", "v1alpha1", "retentionpolicies", namespaced=True)

Listed = list[tuple[list[Any], str]]


class Lists:
    """A server that has always one more page, and kopf, which lists."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.listed: dict[str | None, str] = {}
        self.compared = ComparedLists(lambda namespace: self.listed.get(namespace, ""))

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        more = "more" if "continue" not in request.query else ""
        metadata = {"resourceVersion": "7", "continue": more}
        item = {"metadata": {"name": "large", "namespace": "ml", "uid": "u"}}
        return web.json_response({"kind": "List", "metadata": metadata, "items": [item]})

    async def of(self, resource: Resource) -> Listed:
        """All that kopf makes of the list of this resource."""
        settings = kopf.OperatorSettings()
        settings.watching.chunk_size = 250
        pages = fetching.fetch_objs(
            settings=settings,
            resource=resource,
            namespace=NamespaceName("ml"),
            logger=logging.getLogger(__name__),
        )
        return [(list(items), version) async for items, version in pages]


@pytest.fixture
async def lists() -> AsyncIterator[Lists]:
    lists = Lists()
    app = web.Application()
    app.router.add_get("/{path:.*}", lists.answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        connection = Connection(Configuration(host=url), "default")
        session = await connection.open_session(lists.compared)
        info = kopf.AiohttpSession(server=url, aiohttp_session=session)
        token = auth.vault_var.set(Vault({VaultKey("ours"): info}))
        try:
            yield lists
        finally:
            auth.vault_var.reset(token)
            await session.close()


async def test_kopf_gets_the_version_of_a_list_and_none_of_its_objects(lists: Lists) -> None:
    assert await lists.of(JOBS) == [([], "7")]
    assert lists.asked == [{"limit": "1"}], "one page of one object, and no other"


async def test_kopf_lists_all_other_kinds_as_ever(lists: Lists) -> None:
    pages = await lists.of(POLICIES)
    assert [len(items) for items, _ in pages] == [1, 1]
    assert [asked["limit"] for asked in lists.asked] == ["250", "250"]


@pytest.mark.parametrize(
    ("namespace", "compared", "version"),
    [
        ("ml", "5", "5"),
        ("ml", "7", "7"),
        ("ml", "8", "7"),  # the server has gone back: it was restored from a backup
        ("ml", "0", "7"),
        ("other", "5", "7"),
        (None, "5", "7"),
    ],
)
async def test_the_first_watch_begins_at_the_list_that_was_compared(
    lists: Lists, namespace: str | None, compared: str, version: str
) -> None:
    lists.listed[namespace] = compared
    assert await lists.of(JOBS) == [([], version)]


async def test_a_list_that_was_compared_is_good_for_one_watch(lists: Lists) -> None:
    for version in ("5", "6"):
        lists.listed["ml"] = version
        assert await lists.of(JOBS) == [([], "5" if version == "5" else "7")]


JOBS_PATH = "/apis/trainingjob.dev/v1alpha1{}/trainingjobs"


@pytest.mark.parametrize(
    ("namespace", "path"),
    [(None, JOBS_PATH.format("")), ("ml", JOBS_PATH.format("/namespaces/ml"))],
)
def test_a_watch_follows_a_list_only_from_the_version_that_was_given_to_it(
    namespace: str | None, path: str
) -> None:
    compared = ComparedLists({namespace: "5"}.__getitem__)
    assert not compared.is_followed_by(path, "5")
    assert compared.take(path, now="6") == "5"
    assert compared.is_followed_by(path, "5")
    assert not compared.is_followed_by(path, "6")
