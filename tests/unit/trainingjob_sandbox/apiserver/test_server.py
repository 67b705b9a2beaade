"""The server over HTTP: discovery, verbs, lists in pages, tables."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hack.ports import free_port
from tests.support.apiserver.server_internals import compact, expire_continue_tokens, put_raw
from tests.unit.trainingjob_sandbox.apiserver.http import TABLE, Client, until
from tests.unit.trainingjob_sandbox.apiserver.widgets import (
    CONFIG_MAPS,
    CRD,
    PODS,
    WIDGETS,
    Object,
    config_map,
    pod,
    widget,
)
from trainingjob_sandbox.apiserver import ApiServer, ApiServerThread
from trainingjob_sandbox.apiserver.server import MAX_BODY_BYTES

# --- discovery -------------------------------------------------------------------------------


async def test_discovery_lists_groups_and_resources(client: Client) -> None:
    groups = (await client.get("/apis")).body["groups"]
    resources = (await client.get("/apis/example.dev/v1")).body["resources"]
    core = {item["name"]: item for item in (await client.get("/api/v1")).body["resources"]}

    assert (await client.get("/api")).body["versions"] == ["v1"]
    assert "example.dev" in [group["name"] for group in groups]
    assert [resource["name"] for resource in resources] == ["widgets", "widgets/status"]
    assert resources[0]["shortNames"] == ["wd"]
    assert {"pods", "pods/log", "pods/status", "pods/binding", "pods/eviction"} <= core.keys()
    assert core["pods/eviction"]["group"] == "policy"
    assert "deletecollection" not in core["namespaces"]["verbs"]
    assert (await client.get("/apis/example.dev")).body["preferredVersion"]["version"] == "v1"


async def test_the_server_reports_version_and_health(client: Client) -> None:
    version = (await client.get("/version")).body

    assert (version["major"], version["minor"]) == ("1", "37")
    assert version["gitVersion"].endswith("+sandbox")
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping"):
        assert (await client.get(path)).body == "ok"


async def test_openapi_describes_custom_kinds_by_their_schema(client: Client) -> None:
    index = (await client.get("/openapi/v3")).body["paths"]
    document = (await client.get(index["apis/example.dev/v1"]["serverRelativeURL"])).body

    schema = document["components"]["schemas"]["dev.example.v1.Widget"]
    patch = document["paths"]["/apis/example.dev/v1/namespaces/{namespace}/widgets/{name}"][
        "patch"
    ]
    assert schema["properties"]["spec"]["properties"]["numNodes"]["description"] == "How many."
    assert {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}} in patch[
        "parameters"
    ]
    assert "api/v1" in index


async def test_the_hash_of_openapi_changes_with_the_schema(
    server: ApiServer, client: Client
) -> None:
    before = (await client.get("/openapi/v3")).body["paths"]["apis/example.dev/v1"]

    def describe(old: Object) -> Object:
        changed = json.loads(json.dumps(old))
        schema = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["description"] = "Another."
        return dict(changed)

    server.store.update("customresourcedefinitions", "widgets.example.dev", describe)

    assert (await client.get("/openapi/v3")).body["paths"]["apis/example.dev/v1"] != before


@pytest.mark.parametrize(
    ("method", "path", "want"),
    [
        ("GET", "/nope", 404),
        ("GET", "/apis/nope.dev", 404),
        ("GET", "/apis/nope.dev/v1", 404),
        ("GET", "/api/v1/nopes", 404),
        ("GET", "/openapi/v1", 404),
        ("GET", "/openapi/v3/apis/nope.dev/v1", 404),
        ("GET", f"{WIDGETS}/w/scale", 404),
        ("GET", f"{PODS}/nope", 404),
        ("GET", f"{PODS}/nope/log", 404),
        ("DELETE", "/version", 405),
        ("PUT", WIDGETS, 405),
        ("POST", f"{PODS}/p/log", 405),
        ("DELETE", "/api/v1/namespaces", 405),
    ],
)
async def test_an_unknown_path_or_object_is_not_found(
    client: Client, method: str, path: str, want: int
) -> None:
    assert (await client.call(method, path)).status == want


# --- verbs -----------------------------------------------------------------------------------


async def test_an_object_lives_from_post_to_delete(client: Client) -> None:
    created = await client.post(WIDGETS, widget("w"))
    read = await client.get(f"{WIDGETS}/w")
    patched = await client.patch(f"{WIDGETS}/w", {"spec": {"flag": True}})
    replaced = await client.call("PUT", f"{WIDGETS}/w", {**patched.body, "spec": {"template": {}}})
    status = await client.patch(f"{WIDGETS}/w/status", {"status": {"phase": "X"}})
    deleted = await client.delete(f"{WIDGETS}/w")

    assert created.status == 201
    assert read.body == created.body
    assert patched.body["spec"]["flag"] is True
    assert "flag" not in replaced.body["spec"]
    assert status.body["status"] == {"phase": "X"}
    assert (deleted.status, deleted.body["status"]) == (200, "Success")
    assert deleted.body["details"]["uid"] == created.body["metadata"]["uid"]
    assert (await client.get(f"{WIDGETS}/w")).status == 404


async def test_the_deletion_of_a_pod_answers_with_the_pod(client: Client) -> None:
    await client.post(PODS, pod("p"))

    assert (await client.delete(f"{PODS}/p")).body["kind"] == "Pod"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("merge-patch+json", {"metadata": {"labels": {"x": "y"}}}),
        ("strategic-merge-patch+json", {"metadata": {"labels": {"x": "y"}}}),
        ("json-patch+json", [{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]),
    ],
)
async def test_there_are_three_kinds_of_patch(client: Client, kind: str, body: Any) -> None:
    await client.post(CONFIG_MAPS, config_map("a"))

    answer = await client.patch(f"{CONFIG_MAPS}/a", body, kind)

    assert answer.body["metadata"]["labels"] == {"x": "y"}


async def test_a_patch_that_is_not_supported_says_what_is(client: Client) -> None:
    await client.post(WIDGETS, widget("w"))

    strategic = await client.patch(f"{WIDGETS}/w", {}, "strategic-merge-patch+json")
    apply = await client.patch(f"{WIDGETS}/w", widget("w"), "apply-patch+yaml")

    assert (strategic.status, apply.status) == (415, 415)
    assert "application/merge-patch+json" in strategic.message
    assert "kubectl apply` without --server-side" in apply.message


@pytest.mark.parametrize("path", [WIDGETS + "/w", WIDGETS + "/w/status"])
async def test_a_patch_with_a_stale_revision_is_a_conflict(client: Client, path: str) -> None:
    created = await client.post(WIDGETS, widget("w"))
    await client.patch(f"{WIDGETS}/w", {"spec": {"flag": True}})

    stale = {"metadata": {"resourceVersion": created.body["metadata"]["resourceVersion"]}}
    answer = await client.patch(path, {**stale, "status": {"phase": "X"}})

    assert (answer.status, answer.body["reason"]) == (409, "Conflict")


async def test_a_patch_whose_test_fails_is_unprocessable(client: Client) -> None:
    await client.post(WIDGETS, widget("w"))

    answer = await client.patch(
        f"{WIDGETS}/w",
        [{"op": "test", "path": "/metadata/resourceVersion", "value": "0"}],
        "json-patch+json",
    )

    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b"not json", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"metadata": "x"}', 400),
        (json.dumps({**widget("w"), "kind": "Other"}).encode(), 400),
        (b'{"a": "' + b"x" * MAX_BODY_BYTES + b'"}', 413),
    ],
)
async def test_an_invalid_body_is_rejected(client: Client, body: bytes, want: int) -> None:
    answer = await client.post(WIDGETS, body)

    assert answer.status == want
    assert answer.body["kind"] == "Status"


async def test_an_object_must_be_where_its_path_says(client: Client) -> None:
    await client.post(WIDGETS, widget("w"))
    elsewhere = widget("x")
    elsewhere["metadata"]["namespace"] = "other"

    assert (await client.call("PUT", f"{WIDGETS}/w", widget("x"))).status == 400
    assert (await client.patch(f"{WIDGETS}/w", {"metadata": {"name": "x"}})).status == 400
    assert (await client.post(WIDGETS, elsewhere)).status == 400


async def test_unknown_fields_are_warned_of_refused_or_ignored(client: Client) -> None:
    obj = widget("w", x=1)

    warned = await client.post(f"{WIDGETS}?dryRun=All", obj)
    ignored = await client.post(f"{WIDGETS}?dryRun=All&fieldValidation=Ignore", obj)
    strict = await client.post(f"{WIDGETS}?fieldValidation=Strict", obj)
    twice = json.dumps(widget("w")).replace('"template": {}', '"template": {}, "template": {}')
    repeated = await client.post(f"{WIDGETS}?fieldValidation=Strict", twice.encode())

    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.x\\""'
    assert (warned.status, ignored.status) == (201, 201)
    assert "Warning" not in ignored.headers
    assert (strict.status, repeated.status) == (400, 400)
    assert repeated.message.endswith('strict decoding error: duplicate field "spec.template"')


@pytest.mark.parametrize("query", ["dryRun=Some", "fieldValidation=Maybe"])
async def test_an_option_with_an_unknown_value_is_invalid(client: Client, query: str) -> None:
    assert (await client.post(f"{WIDGETS}?{query}", widget("w"))).status == 422


async def test_an_unknown_propagation_policy_is_invalid(client: Client) -> None:
    await client.post(PODS, pod("p"))

    answer = await client.delete(f"{PODS}/p", {"propagationPolicy": "Nope"})

    assert answer.status == 422
    assert (await client.get(f"{PODS}/p")).status == 200


async def test_a_collection_is_deleted_as_far_as_it_is_selected(client: Client) -> None:
    for name in ("a", "b", "c"):
        await client.post(CONFIG_MAPS, config_map(name, labels={"keep": str(name == "b")}))

    answer = await client.delete(f"{CONFIG_MAPS}?labelSelector=keep%3DFalse")

    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["a", "c"]
    left = (await client.get(CONFIG_MAPS)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["b"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="cross-origin"),
        pytest.param({"Origin": "null"}, id="opaque-origin"),
        pytest.param({"Host": "evil.example:8080"}, id="rebound-name"),
    ],
)
async def test_a_web_page_cannot_create_anything(client: Client, headers: dict[str, str]) -> None:
    refused = await client.post(WIDGETS, widget("w"), headers=headers)

    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert (await client.get(f"{WIDGETS}/w")).status == 404


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "LOCALHOST:8001", "[::1]:80"])
async def test_loopback_has_several_names(client: Client, host: str) -> None:
    assert (await client.get(WIDGETS, Host=host)).status == 200


async def test_only_json_is_an_acceptable_media_type(client: Client) -> None:
    assert (await client.get(PODS, Accept="text/html")).status == 406
    assert (await client.get(PODS, Accept="application/vnd.kubernetes.protobuf")).status == 406
    proto_first = "application/vnd.kubernetes.protobuf,application/json"
    assert (await client.get(PODS, Accept=proto_first)).status == 200


# --- lists -----------------------------------------------------------------------------------


async def create_many(client: Client, *names: str) -> None:
    for name in names:
        await client.post(CONFIG_MAPS, config_map(name, labels={"name": name}))


def names_of(body: Object) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def test_all_pages_show_the_collection_as_it_was_at_the_first(client: Client) -> None:
    await create_many(client, "a", "b", "c", "d")
    first = (await client.get(f"{CONFIG_MAPS}?limit=2")).body
    await client.delete(f"{CONFIG_MAPS}/c")
    await create_many(client, "e")

    second = (
        await client.get(f"{CONFIG_MAPS}?limit=2&continue={first['metadata']['continue']}")
    ).body

    assert (names_of(first), names_of(second)) == (["a", "b"], ["c", "d"])
    assert first["metadata"]["remainingItemCount"] == 2
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_a_page_continues_after_the_last_one_and_counts_its_own_namespace(
    client: Client,
) -> None:
    await create_many(client, "a", "b", "c", "d", "e")
    elsewhere = CONFIG_MAPS.replace("/default/", "/kube-system/")
    for name in ("a", "c", "z"):
        await client.post(elsewhere, config_map(name))
    pages: list[list[str]] = []
    left: list[int | None] = []
    token = ""

    while not pages or token:
        body = (await client.get(f"{CONFIG_MAPS}?limit=2&continue={token}")).body
        pages.append(names_of(body))
        left.append(body["metadata"].get("remainingItemCount"))
        token = body["metadata"].get("continue", "")

    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert left == [3, 1, None]


async def test_pages_of_a_selection_have_as_many_as_were_asked_for(client: Client) -> None:
    await create_many(client, "a", "b", "c", "d", "e")
    path = f"{CONFIG_MAPS}?labelSelector=name%20notin%20(a,c)&limit=2"
    first = (await client.get(path)).body

    second = (await client.get(f"{path}&continue={first['metadata']['continue']}")).body

    assert (names_of(first), names_of(second)) == (["b", "d"], ["e"])
    assert "remainingItemCount" not in first["metadata"]
    assert "continue" not in second["metadata"]


@pytest.mark.parametrize("expire", [compact, expire_continue_tokens])
async def test_a_token_that_expired_is_gone(
    server: ApiServer, client: Client, expire: Callable[[ApiServer], None]
) -> None:
    await create_many(client, "a", "b")
    token = (await client.get(f"{CONFIG_MAPS}?limit=1")).body["metadata"]["continue"]

    expire(server)

    answer = await client.get(f"{CONFIG_MAPS}?limit=1&continue={token}")
    assert (answer.status, answer.body["reason"]) == (410, "Expired")


async def test_lists_are_selected_by_labels_and_fields(client: Client) -> None:
    await create_many(client, "a", "b", "c")
    await client.post(PODS, pod("bound", nodeName="n"))
    await client.post(PODS, pod("free"))
    await client.post(WIDGETS, widget("w"))
    await client.patch(f"{WIDGETS}/w/status", {"status": {"phase": "X"}})

    async def names(path: str) -> list[str]:
        return names_of((await client.get(path)).body)

    assert await names(f"{CONFIG_MAPS}?labelSelector=name%20in%20(a,c)") == ["a", "c"]
    assert await names(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Db") == ["b"]
    assert await names(f"{PODS}?fieldSelector=spec.nodeName%3Dn") == ["bound"]
    assert await names(f"{PODS}?fieldSelector=status.phase!%3DPending") == []
    assert await names(f"{WIDGETS}?fieldSelector=status.phase%3DX") == ["w"]
    assert await names(f"{WIDGETS}?fieldSelector=status.phase%3DY") == []
    unknown = await client.get(f"{WIDGETS}?fieldSelector=spec.mode%3DA")
    assert (unknown.status, unknown.message) == (400, "field label not supported: spec.mode")


async def test_a_list_can_span_namespaces(server: ApiServer, client: Client) -> None:
    server.store.create("configmaps", config_map("z", namespace="kube-system"))
    await create_many(client, "a")

    assert names_of((await client.get("/api/v1/configmaps")).body) == ["a", "z"]
    assert names_of((await client.get(CONFIG_MAPS)).body) == ["a"]


async def test_items_of_built_in_kinds_do_not_repeat_what_the_list_says(client: Client) -> None:
    await create_many(client, "a")
    await client.post(WIDGETS, widget("w"))

    assert "kind" not in (await client.get(CONFIG_MAPS)).body["items"][0]
    assert (await client.get(WIDGETS)).body["items"][0]["kind"] == "Widget"
    assert (await client.get(CONFIG_MAPS)).body["kind"] == "ConfigMapList"


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("resourceVersion=0", 200),
        ("resourceVersion=99999999", 504),
        ("resourceVersion=1&resourceVersionMatch=Exact", 410),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=abc", 400),
        ("limit=abc", 400),
        ("continue=xxx", 400),
        ("labelSelector=a%20b", 400),
    ],
)
async def test_a_list_at_an_unavailable_revision_is_rejected(
    client: Client, query: str, want: int
) -> None:
    assert (await client.get(f"{CONFIG_MAPS}?{query}")).status == want


async def test_kubectl_gets_tables(client: Client) -> None:
    await client.post(WIDGETS, widget("w", mode="A"))

    many = (await client.get(WIDGETS, Accept=TABLE)).body
    one = (await client.get(f"{WIDGETS}/w", Accept=TABLE)).body

    assert many["kind"] == "Table"
    assert [column["name"] for column in many["columnDefinitions"]][:2] == ["Name", "Phase"]
    assert many["rows"][0]["cells"] == one["rows"][0]["cells"] == ["w", None, None, 1, None, "A"]


async def test_events_are_stored_once_and_served_in_two_versions(client: Client) -> None:
    core = "/api/v1/namespaces/default/events"
    new = "/apis/events.k8s.io/v1/namespaces/default/events"
    about = {"kind": "Pod", "namespace": "default", "name": "p"}

    await client.post(core, {"metadata": {"name": "a"}, "involvedObject": about, "message": "m"})
    await client.post(new, {"metadata": {"name": "b"}, "regarding": about, "note": "n"})
    await client.patch(f"{new}/a", {"note": "changed"})

    assert names_of((await client.get(core)).body) == ["a", "b"]
    assert (await client.get(f"{core}/a")).body["message"] == "changed"
    assert (await client.get(f"{new}/b")).body["note"] == "n"
    assert (await client.get(f"{new}/b")).body["apiVersion"] == "events.k8s.io/v1"
    assert names_of((await client.get(f"{core}?fieldSelector=involvedObject.name%3Dp")).body)
    assert names_of((await client.get(f"{new}?fieldSelector=regarding.name%3Dq")).body) == []
    table = (await client.get(new, Accept=TABLE)).body
    assert [row["cells"][6] for row in table["rows"]] == ["changed", "n"]


# --- pods ------------------------------------------------------------------------------------


async def test_a_pod_is_bound_to_a_node_once(client: Client) -> None:
    await client.post(PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}

    first = await client.post(f"{PODS}/p/binding", binding)
    second = await client.post(f"{PODS}/p/binding", binding)
    stored = (await client.get(f"{PODS}/p")).body

    assert (first.status, second.status) == (201, 409)
    assert 'pod p is already assigned to node "n"' in second.message
    assert stored["spec"]["nodeName"] == "n"
    assert [c["type"] for c in stored["status"]["conditions"]] == ["PodScheduled"]


async def test_an_evicted_pod_has_the_condition_disruption_target(client: Client) -> None:
    await client.post(PODS, pod("p", nodeName="n"))

    answer = await client.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
    stored = (await client.get(f"{PODS}/p")).body

    assert answer.status == 201
    assert stored["metadata"]["deletionGracePeriodSeconds"] == 30
    assert [(c["type"], c["reason"]) for c in stored["status"]["conditions"]] == [
        ("DisruptionTarget", "EvictionByEvictionAPI")
    ]


@asynccontextmanager
async def kubelet(handler: Any) -> AsyncIterator[int]:
    """Serve a node's log endpoint."""
    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def node(port: int) -> Object:
    return {
        "metadata": {
            "name": "n",
            "annotations": {"trainingjob.dev/sandbox-kubelet-scheme": "http"},
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }


async def test_a_log_is_streamed_from_the_node(client: Client) -> None:
    more = asyncio.Event()
    asked: list[tuple[str, str]] = []

    async def log(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.query_string))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await more.wait()
        await response.write(b"two\n")
        return response

    async with kubelet(log) as port:
        await client.post("/api/v1/nodes", node(port))
        await client.post(PODS, pod("p", nodeName="n"))
        async with client.session.get(
            f"{PODS}/p/log?follow=true&tailLines=5&pretty=1"
        ) as response:
            assert await response.content.readline() == b"one\n"
            more.set()
            assert await response.content.read() == b"two\n"

    assert asked == [("/containerLogs/default/p/c", "follow=true&tailLines=5")]


async def test_a_log_that_is_cut_off_does_not_end_orderly(client: Client) -> None:
    async def log(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async with kubelet(log) as port:
        await client.post("/api/v1/nodes", node(port))
        await client.post(PODS, pod("p", nodeName="n"))
        async with client.session.get(f"{PODS}/p/log?follow=true") as response:
            assert await response.content.readline() == b"one\n"
            with pytest.raises(aiohttp.ClientError):
                await response.content.read()


async def test_a_log_whose_node_does_not_answer_is_an_error(client: Client) -> None:
    await client.post(PODS, pod("free"))
    await client.post(PODS, pod("lost", nodeName="n"))
    await client.post(PODS, pod("two", containers=[{"name": c, "image": "x"} for c in "ab"]))

    assert (await client.get(f"{PODS}/free/log")).status == 204
    assert (await client.get(f"{PODS}/lost/log")).status == 404
    await client.post("/api/v1/nodes", node(free_port()))
    unreachable = await client.get(f"{PODS}/lost/log")
    assert (unreachable.status, unreachable.body["kind"]) == (500, "Status")
    assert (await client.get(f"{PODS}/two/log")).message == (
        "a container name must be specified for pod two, choose one of: [a b]"
    )
    assert (await client.get(f"{PODS}/free/log?container=z")).message == (
        "container z is not valid for pod free"
    )


async def test_an_error_of_the_node_is_passed_on(client: Client) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=400, text="the container is waiting to start")

    async with kubelet(refuse) as port:
        await client.post("/api/v1/nodes", node(port))
        await client.post(PODS, pod("p", nodeName="n"))

        answer = await client.get(f"{PODS}/p/log")

    assert (answer.status, answer.message) == (400, "the container is waiting to start")


async def test_a_test_can_set_a_log(server: ApiServer, client: Client) -> None:
    await client.post(PODS, pod("p"))
    server.set_pod_log("p", "one\ntwo\nthree\n")

    assert (await client.get(f"{PODS}/p/log")).body == "one\ntwo\nthree\n"
    assert (await client.get(f"{PODS}/p/log?tailLines=1")).body == "three\n"
    assert (await client.get(f"{PODS}/p/log?tailLines=0")).body == ""
    assert (await client.get(f"{PODS}/p/log?limitBytes=5")).body == "one\nt"


# --- restarts, the thread -------------------------------------------------


async def test_a_request_that_hangs_does_not_keep_the_server_from_stopping(
    server: ApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_there = asyncio.Event()

    async def hang(*_: object) -> web.StreamResponse:
        is_there.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(server._handlers, "handle", hang)
    request = asyncio.create_task(client.get(WIDGETS))
    await is_there.wait()

    await asyncio.wait_for(server.stop(), 30)

    with pytest.raises(aiohttp.ClientError):
        await request


async def test_a_bug_of_the_server_is_an_internal_error(
    server: ApiServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    put_raw(server.store, {**widget("w"), "spec": {"template": 5}})
    server.store.registry.by_name("widgets").strategy.decode = None  # type: ignore[method-assign, assignment]

    answer = await client.patch(f"{WIDGETS}/w", {"spec": {"flag": True}})

    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert "PATCH" in caplog.text


async def test_a_restart_keeps_port_and_objects(client: Client, server: ApiServer) -> None:
    await client.post(WIDGETS, widget("w"))
    url = server.url

    await server.stop()
    with pytest.raises(aiohttp.ClientError):
        await client.get(f"{WIDGETS}/w")
    await server.start()

    assert server.url == url
    assert (await client.get(f"{WIDGETS}/w")).status == 200


async def test_controllers_run_after_a_write_without_another_request(
    server: ApiServer, client: Client
) -> None:
    await client.post("/api/v1/namespaces", {"metadata": {"name": "tmp"}})
    await client.delete("/api/v1/namespaces/tmp")

    await until(lambda: len(server.store.list("namespaces")) == 2)


def test_the_thread_runs_the_server_beside_the_caller(tmp_path: Any) -> None:
    with ApiServerThread([CRD], port=free_port()) as api:
        api.call(lambda server: server.store.create("widgets", widget("w")))
        text = api.write_kubeconfig(tmp_path / "kubeconfig", user="ada").read_text()
        port = api.port
        api.stop()
        api.start()

        assert api.port == port
        assert f"server: {api.url}" in text
        assert "token: ada" in text
        names = api.call(
            lambda server: [o["metadata"]["name"] for o in server.store.list("widgets")]
        )
        assert names == ["w"]

    assert not api._thread.is_alive()


def test_a_server_that_cannot_listen_leaves_no_thread_behind() -> None:
    with ApiServerThread() as api:
        second = ApiServerThread(port=api.port)
        with pytest.raises(OSError, match="address already in use"):
            second.__enter__()

    assert not second._thread.is_alive()
