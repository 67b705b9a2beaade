import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.apiserver.server_internals import compact
from tests.unit.trainingjob_sandbox.apiserver.http import TABLE, Client, until
from tests.unit.trainingjob_sandbox.apiserver.widgets import (
    CONFIG_MAPS,
    CRD,
    MERGE,
    PODS,
    WIDGETS,
    config_map,
    pod,
    widget,
)
from trainingjob_sandbox.apiserver import ApiServer
from trainingjob_sandbox.apiserver.storage import CollectionId


async def relabel(client: Client, name: str, value: str | None) -> None:
    await client.patch(f"{CONFIG_MAPS}/{name}", {"metadata": {"labels": {"a": value}}})


async def revision(client: Client) -> str:
    return str((await client.get(CONFIG_MAPS)).body["metadata"]["resourceVersion"])


async def test_a_watch_without_a_revision_sends_the_current_objects_and_then_changes(
    client: Client,
) -> None:
    await client.post(CONFIG_MAPS, config_map("b"))
    await client.post(CONFIG_MAPS, config_map("a"))

    async with client.watch(CONFIG_MAPS) as stream:
        assert await stream.take(2) == [("ADDED", "a"), ("ADDED", "b")]
        await relabel(client, "a", "1")
        await client.delete(f"{CONFIG_MAPS}/a")
        await client.post(CONFIG_MAPS, config_map("c"))
        assert await stream.take(3) == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "c")]


async def test_a_watch_from_a_revision_misses_nothing_and_repeats_nothing(client: Client) -> None:
    await client.post(CONFIG_MAPS, config_map("before"))
    start = await revision(client)
    await client.post(CONFIG_MAPS, config_map("after"))
    await client.post(PODS, pod("other-kind"))

    async with client.watch(CONFIG_MAPS, f"resourceVersion={start}") as stream:
        assert await stream.take(1) == [("ADDED", "after")]
        await client.delete(f"{CONFIG_MAPS}/before")
        assert await stream.take(1) == [("DELETED", "before")]


async def test_an_object_that_starts_or_stops_to_match_is_added_or_deleted(client: Client) -> None:
    await client.post(CONFIG_MAPS, config_map("x", labels={"a": "1"}))
    start = await revision(client)

    async with client.watch(CONFIG_MAPS, f"labelSelector=a%3D1&resourceVersion={start}") as stream:
        await relabel(client, "x", "2")
        left = await stream.next()
        await relabel(client, "x", "3")
        await relabel(client, "x", "1")
        back = await stream.next()
        await client.delete(f"{CONFIG_MAPS}/x")
        gone = await stream.next()

    assert left is not None
    assert back is not None
    assert gone is not None
    assert [event["type"] for event in (left, back, gone)] == ["DELETED", "ADDED", "DELETED"]
    # What left is shown as it last matched, at the revision at which it left.
    assert left["object"]["metadata"]["labels"] == {"a": "1"}
    assert int(left["object"]["metadata"]["resourceVersion"]) == int(start) + 1


async def test_a_watch_can_follow_a_field(client: Client) -> None:
    async with client.watch(PODS, "fieldSelector=spec.nodeName%3Dn") as stream:
        await client.post(PODS, pod("p"))
        await client.post(f"{PODS}/p/binding", {"target": {"name": "n"}})
        assert await stream.take(1) == [("ADDED", "p")]


async def test_a_watch_of_one_namespace_sees_no_other(server: ApiServer, client: Client) -> None:
    async with client.watch(CONFIG_MAPS) as stream:
        server.store.create("configmaps", config_map("x", namespace="kube-system"))
        server.store.create("configmaps", config_map("y"))
        assert await stream.take(1) == [("ADDED", "y")]


async def test_bookmarks_have_the_current_revision(client: Client) -> None:
    async with client.watch(CONFIG_MAPS, "allowWatchBookmarks=true") as stream:
        first = await stream.next()
        await client.post(PODS, pod("elsewhere"))
        current = await revision(client)
        # Those before it were under way when the pod was created, more than one on a slow machine.
        async with asyncio.timeout(30):
            later = await stream.next()
            while later is not None and later["object"]["metadata"]["resourceVersion"] != current:
                assert int(later["object"]["metadata"]["resourceVersion"]) < int(current)
                later = await stream.next()

    assert first is not None
    assert first["type"] == "BOOKMARK"
    assert first["object"]["kind"] == "ConfigMap"
    assert later is not None
    assert later["type"] == "BOOKMARK"
    assert later["object"]["metadata"]["resourceVersion"] == current


async def test_without_being_asked_for_there_are_no_bookmarks(client: Client) -> None:
    async with client.watch(CONFIG_MAPS, "timeoutSeconds=1") as stream:
        assert await stream.rest() == []


async def test_the_initial_events_end_with_a_bookmark(client: Client) -> None:
    await client.post(CONFIG_MAPS, config_map("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

    async with client.watch(CONFIG_MAPS, query) as stream:
        added, bookmark = await stream.next(), await stream.next()

    assert added is not None
    assert bookmark is not None
    assert added["type"] == "ADDED"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    without_match = await client.get(f"{CONFIG_MAPS}?watch=true&sendInitialEvents=true")
    assert without_match.status == 422


async def test_a_watch_ends_when_its_time_is_over(client: Client) -> None:
    async with client.watch(CONFIG_MAPS, "timeoutSeconds=1&allowWatchBookmarks=true") as stream:
        events = await stream.rest()

    assert {event["type"] for event in events} == {"BOOKMARK"}


async def test_a_watch_from_an_expired_revision_gets_an_error_event(
    server: ApiServer, client: Client
) -> None:
    await client.post(CONFIG_MAPS, config_map("a"))
    start = await revision(client)
    await client.post(CONFIG_MAPS, config_map("b"))
    compact(server)

    async with client.watch(CONFIG_MAPS, f"resourceVersion={start}") as stream:
        assert stream.response.status == 200
        event = await stream.next()
        ended = await stream.next()

    assert event is not None
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert ended is None


async def test_a_watch_from_the_moment_of_compaction_goes_on(
    server: ApiServer, client: Client
) -> None:
    compact(server)

    async with client.watch(CONFIG_MAPS, f"resourceVersion={await revision(client)}") as stream:
        await client.post(CONFIG_MAPS, config_map("b"))
        assert await stream.take(1) == [("ADDED", "b")]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda server: server.drop_watches(), id="all"),
        pytest.param(lambda server: server.drop_watches("configmaps"), id="of-one-kind"),
    ],
)
async def test_watches_can_be_ended_from_the_server(
    server: ApiServer, client: Client, end: Callable[[ApiServer], None]
) -> None:
    async with client.watch(CONFIG_MAPS) as config_maps, client.watch(PODS) as pods:
        await until(lambda: watchers(server, "configmaps") and watchers(server, "pods"))
        server.drop_watches("secrets")
        end(server)
        assert await config_maps.next() is None
        await client.post(PODS, pod("p"))
        if watchers(server, "pods"):
            assert await pods.take(1) == [("ADDED", "p")]
        else:
            assert await pods.next() is None


def watchers(server: ApiServer, plural: str) -> int:
    return len(server._storage.collection(CollectionId("", plural)).subscribers)


async def test_a_disconnected_watcher_is_unsubscribed(server: ApiServer, client: Client) -> None:
    async with client.watch(CONFIG_MAPS):
        await until(lambda: watchers(server, "configmaps") == 1)

    await until(lambda: watchers(server, "configmaps") == 0)


async def test_a_watch_ends_when_its_crd_is_deleted(client: Client) -> None:
    async with client.watch(WIDGETS) as stream:
        await client.post(WIDGETS, widget("w"))
        await client.delete(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.dev"
        )
        assert [event["type"] for event in await stream.rest()] == ["ADDED", "DELETED"]


async def test_a_watch_from_before_its_crd_was_created_again_expires(
    server: ApiServer, client: Client
) -> None:
    await client.post(WIDGETS, widget("w"))
    before = await revision(client)
    server.store.delete("customresourcedefinitions", "widgets.example.dev")
    await until(lambda: "widgets.example.dev" not in names_of_crds(server))
    server.store.create("customresourcedefinitions", CRD)

    async with client.watch(WIDGETS, f"resourceVersion={before}") as stream:
        [error] = await stream.rest()

    assert (error["type"], error["object"]["code"]) == ("ERROR", 410)


def names_of_crds(server: ApiServer) -> list[str]:
    return [crd["metadata"]["name"] for crd in server.store.list("customresourcedefinitions")]


async def test_a_watch_can_be_a_table_whose_headings_come_once(client: Client) -> None:
    await client.post(CONFIG_MAPS, config_map("a"))
    await client.post(CONFIG_MAPS, config_map("b"))

    async with client.watch(CONFIG_MAPS, Accept=TABLE) as stream:
        first, second = await stream.next(), await stream.next()

    assert first is not None
    assert second is not None
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][:2] == ["b", 1]


async def test_a_watch_of_events_k8s_io_has_that_version(client: Client) -> None:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    async with client.watch(path) as stream:
        body: Any = {"metadata": {"name": "e"}, "message": "m"}
        await client.post("/api/v1/namespaces/default/events", body)
        event = await stream.next()

    assert event is not None
    assert event["object"]["note"] == "m"


async def test_a_write_that_changes_nothing_wakes_nobody(client: Client) -> None:
    await client.post(CONFIG_MAPS, config_map("a"))
    start = await revision(client)

    async with client.watch(CONFIG_MAPS, f"resourceVersion={start}") as stream:
        await client.call("PATCH", f"{CONFIG_MAPS}/a", {"data": {"a": "b"}}, content_type=MERGE)
        await client.post(CONFIG_MAPS, config_map("b"))
        assert await stream.take(1) == [("ADDED", "b")]
