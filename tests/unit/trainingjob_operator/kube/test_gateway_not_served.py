"""The two meanings of a 404: an object does not exist, or its kind is not served."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from trainingjob_api.errors import KubernetesError, NotServedError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.kube.cluster import ServedState
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway

KEY = JobKey("ml", "mnist")
NO_JOB = {
    "kind": "Status",
    "reason": "NotFound",
    "details": {"name": "mnist", "group": "trainingjob.dev", "kind": "trainingjobs"},
}
NO_KIND = {"kind": "Status", "reason": "NotFound", "details": {}}


async def gateway_of(answer: web.Response) -> AsyncIterator[Gateway]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        configuration = Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        async with Gateway(Connection(configuration, "default"), timeout_s=5) as gateway:
            yield gateway


ANSWERS = {
    "an API server without the CRD": web.Response(status=404, text="404 page not found\n"),
    "one without this version of it": web.json_response(NO_KIND, status=404),
    "a 404 that names an object": web.json_response(NO_JOB, status=404),
    "a proxy that says something else": web.json_response({"status": "ok"}),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_response_that_is_not_a_list_never_counts_as_an_empty_one(
    answer: web.Response,
) -> None:
    async for gateway in gateway_of(answer):
        for pages in (
            gateway.list_jobs(None),
            gateway.list_jobs("ml"),
            gateway.list_pods(None),
            gateway.list_policies(None),
        ):
            with pytest.raises(KubernetesError):
                [page async for page in pages]
        with pytest.raises(KubernetesError):
            await gateway.jobs_by_record_state(None, "Pending", limit=1, token="")


async def test_a_404_means_an_absent_object_only_if_it_names_one() -> None:
    async for gateway in gateway_of(ANSWERS["a 404 that names an object"]):
        assert await gateway.get_job(KEY) is None
        assert await gateway.get_policy("ml") is None
        assert await gateway.get_namespace("ml") is None
    for name in ("an API server without the CRD", "one without this version of it"):
        async for gateway in gateway_of(ANSWERS[name]):
            for call in (gateway.get_job(KEY), gateway.get_pod("ml", "mnist-0")):
                with pytest.raises(NotServedError, match="right cluster"):
                    await call


async def test_missing_crds_are_reported_as_absent_and_not_as_an_error() -> None:
    async for gateway in gateway_of(ANSWERS["an API server without the CRD"]):
        assert await gateway.served_state() is ServedState.ABSENT
        with pytest.raises(NotServedError):
            await gateway.jobs_version(None)


async def test_a_list_without_a_version_returns_none_and_not_an_old_one() -> None:
    async for gateway in gateway_of(web.json_response({"kind": "List", "items": []})):
        assert await gateway.jobs_version(None) == await gateway.pods_version("ml") == ""
