"""The watch of a kind against a server that fails in every way."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.support.apiserver.scripted_watch import (
    Answer,
    ScriptedPods,
    error_event,
    pod_event,
    scripted_pods,
)
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.line_splitter import MAX_LINE
from trainingjob_operator.kube.object_watch import JOBS, PODS, ObjectWatch, WatchedKind
from trainingjob_operator.kube.watch_client import WatchClient

JOBS_PATH = "/apis/trainingjob.dev/v1alpha1/trainingjobs"
FORBIDDEN = 'pods is forbidden: User "operator" cannot watch resource "pods"'


class Watching:
    """A running watch, and what it has delivered.

    Attributes:
        events: the kind and the version of each.
        missing: the paths that were said not to be served.
        relists: how often a comparison was asked for, and how many watches had been asked for then.
    """

    def __init__(self, pods: ScriptedPods) -> None:
        self.pods = pods
        self.events: list[tuple[str | None, str]] = []
        self.relists: list[int] = []
        self.missing: list[str] = []
        self.poison = ""

    def take(self, kind: str | None, raw: dict[str, Any]) -> None:
        self.events.append((kind, raw["metadata"]["resourceVersion"]))
        if self.poison and self.poison == raw["metadata"]["name"]:
            raise RuntimeError("it cannot be understood")

    def relist(self) -> None:
        self.relists.append(len(self.pods.watched_from()))


@pytest.fixture
async def pods() -> AsyncIterator[ScriptedPods]:
    async with scripted_pods() as pods:
        yield pods


@asynccontextmanager
async def watching(
    pods: ScriptedPods,
    *namespaces: str | None,
    kind: WatchedKind = PODS,
    listed: str = "7",
    silence_s: float = 60.0,
) -> AsyncIterator[tuple[ObjectWatch, Watching]]:
    seen = Watching(pods)
    async with Gateway(pods.connection, timeout_s=5) as gateway:
        client = WatchClient(pods.connection, gateway.requests, silence_s=silence_s)
        watch = ObjectWatch(
            kind,
            client=client,
            current_version=gateway.pods_version if kind is PODS else gateway.jobs_version,
            namespaces=namespaces or (None,),
            listed_version=lambda namespace: listed,
            on_event=seen.take,
            on_relist=seen.relist,
            clock=SystemClock(),
            on_missing=seen.missing.append,
            jitter=lambda: 0.0,
        )
        task = asyncio.create_task(watch.run())
        try:
            yield watch, seen
            assert not task.done(), "nothing ends it"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await client.close()


async def test_it_begins_at_the_version_of_the_first_list_and_lists_nothing(
    pods: ScriptedPods,
) -> None:
    pods.watches.append(Answer((pod_event("ADDED", 8), pod_event("DELETED", 9)), then="silence"))
    async with watching(pods) as (watch, seen):
        assert not watch.has_begun
        await pods.until(lambda: len(seen.events) == 2)
        assert watch.has_begun
    assert seen.events == [("ADDED", "8"), ("DELETED", "9")]
    assert pods.watched_from() == ["7"]
    assert (pods.listed(), seen.relists) == (0, [])
    [asked] = pods.asked
    assert asked["labelSelector"] == "trainingjob.dev/job-name"
    assert asked["allowWatchBookmarks"] == "true"
    assert 300 <= int(asked["timeoutSeconds"]) <= 600


@pytest.mark.parametrize("then", ["end", "break"])
async def test_a_broken_watch_resumes_without_a_resync(pods: ScriptedPods, then: Any) -> None:
    bookmark = pod_event("BOOKMARK", 20)
    pods.watches += [Answer((pod_event("MODIFIED", 9),), then), Answer((bookmark,), then)]
    async with watching(pods) as (_, seen):
        await pods.until(lambda: len(pods.asked) == 3)
    assert pods.watched_from() == ["7", "9", "20"]
    assert (pods.listed(), seen.relists) == (0, [])
    assert seen.events == [("MODIFIED", "9")]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=410, message="too old"),
        Answer((pod_event("ADDED", 9), error_event(410))),
        Answer((error_event(500),)),
        Answer((b"<html>",)),
        Answer((b'{"type": "ADDED"}',)),
        Answer((b"[]",)),
        Answer((b"[" * 100_000,)),
    ],
    ids=["gone", "gone-later", "error", "no-json", "no-object", "no-event", "deep"],
)
async def test_after_a_410_it_begins_at_a_new_list_and_requests_a_resync_once_open(
    pods: ScriptedPods, answer: Answer
) -> None:
    pods.watches += [answer, Answer((pod_event("ADDED", 101),), "silence")]
    async with watching(pods) as (_, seen):
        await pods.until(lambda: seen.events[-1:] == [("ADDED", "101")])
    assert pods.watched_from() == ["7", "100"]
    assert pods.listed() == 1
    assert seen.relists == [2], "not before the watch is open"


async def test_a_failed_list_or_watch_postpones_the_resync(
    pods: ScriptedPods,
) -> None:
    pods.watches += [
        Answer(status=410),
        Answer(status=503),
        Answer((error_event(410),)),
        Answer(then="silence"),
    ]
    pods.lists += [Answer(status=500)]
    async with watching(pods) as (_, seen):
        await pods.until(lambda: len(seen.relists) == 2)
    assert pods.watched_from() == ["7", "100", "100", "100"]
    assert seen.relists == [3, 4]


async def test_without_a_first_list_a_resync_is_requested(pods: ScriptedPods) -> None:
    async with watching(pods, listed="") as (_, seen):
        await pods.until(lambda: seen.relists)
    assert (pods.listed(), pods.watched_from(), seen.relists) == (1, ["100"], [1])


async def test_a_silent_connection_is_dropped_and_the_watch_resumes_on_another(
    pods: ScriptedPods,
) -> None:
    pods.watches += [Answer((pod_event("ADDED", 8),), "silence"), Answer((pod_event("ADDED", 9),))]
    async with watching(pods, silence_s=1.0) as (_, seen):
        await pods.until(lambda: len(seen.events) == 2)
    assert pods.watched_from()[:2] == ["7", "8"]
    assert seen.relists == []


async def test_an_event_that_the_handler_fails_on_does_not_stop_the_others(
    pods: ScriptedPods, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (pod_event("ADDED", 8, "bad"), pod_event("ADDED", 9, "good"))
    pods.watches.append(Answer(lines, then="silence"))
    async with watching(pods) as (_, seen):
        seen.poison = "bad"
        await pods.until(lambda: len(seen.events) == 2)
    assert pods.watched_from() == ["7"]
    assert "cannot process bad of the pods, which was ADDED" in caplog.text


async def test_an_event_that_is_too_long_requests_a_resync(pods: ScriptedPods) -> None:
    lines = (b"x" * (MAX_LINE + 1), pod_event("ADDED", 9))
    pods.watches.append(Answer(lines, then="silence"))
    async with watching(pods) as (_, seen):
        await pods.until(lambda: seen.events)
    assert seen.relists == [1]
    assert seen.events == [("ADDED", "9")]


async def test_lines_that_are_not_pod_events_are_ignored(pods: ScriptedPods) -> None:
    lines = (pod_event("HOLIDAY", 8), {"type": "ADDED", "object": "text"}, pod_event("ADDED", 9))
    pods.watches.append(Answer(lines, then="silence"))
    async with watching(pods) as (_, seen):
        await pods.until(lambda: ("ADDED", "9") in seen.events)
    assert seen.events == [("ADDED", "9")]


async def test_jobs_are_watched_without_a_selector_on_their_own_path(
    pods: ScriptedPods, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pods.watches += [Answer(status=410), Answer((pod_event("ADDED", 101),), "silence")]
    async with watching(pods, kind=JOBS) as (_, seen):
        await pods.until(lambda: seen.events == [("ADDED", "101")])
    assert {each["path"] for each in pods.asked} == {JOBS_PATH}
    assert not any("labelSelector" in each for each in pods.asked)
    assert (pods.watched_from(), seen.relists) == (["7", "100"], [2])
    assert "watching the jobs of all namespaces again" in caplog.text


@pytest.mark.parametrize("listed", ["7", ""], ids=["watch", "list"])
async def test_a_kind_that_is_not_served_is_reported_and_retried(
    pods: ScriptedPods, listed: str
) -> None:
    (pods.watches if listed else pods.lists).append(Answer(status=404, message="not found"))
    async with watching(pods, kind=JOBS, listed=listed) as (watch, seen):
        await pods.until(lambda: watch.has_begun)
    assert seen.missing == [JOBS_PATH]


async def test_a_forbidden_namespace_is_logged_once_and_the_others_are_watched(
    pods: ScriptedPods, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refusals = 3
    pods.watches += [Answer(status=403, message=FORBIDDEN)] * refusals
    async with watching(pods, "web") as (watch, seen):
        await pods.until(lambda: watch.has_begun)
    said = [each.getMessage() for each in caplog.records]
    assert [line for line in said if line.startswith("cannot watch")] == [
        f"cannot watch the pods of namespace web: {FORBIDDEN}"
    ]
    assert "the pods of namespace web can be watched now" in said
    assert pods.watched_from() == ["7"] * (refusals + 1)
    assert seen.relists == [], "its place was good all the time"


async def test_each_namespace_has_a_watch_and_a_failed_one_delays_no_other(
    pods: ScriptedPods,
) -> None:
    async with watching(pods, "a", "b") as (watch, _):
        await pods.until(lambda: watch.has_begun)
    assert {each["path"] for each in pods.asked} == {
        "/api/v1/namespaces/a/pods",
        "/api/v1/namespaces/b/pods",
    }


async def test_it_has_begun_when_every_namespace_is_watched(pods: ScriptedPods) -> None:
    pods.watches += [Answer(status=503)]
    async with watching(pods, "a", "b") as (watch, _):
        await pods.until(lambda: len(pods.asked) >= 2)
        assert not watch.has_begun
        await pods.until(lambda: watch.has_begun)
    assert len(pods.asked) == 3


async def test_failed_watches_are_retried_with_back_off(
    pods: ScriptedPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        if seconds > 0.05:
            waits.append(seconds)
        await sleep(0 if seconds > 0.05 else seconds)

    monkeypatch.setattr("trainingjob_operator.kube.object_watch.asyncio.sleep", at_once)
    pods.watches += [Answer(status=503)] * 8
    pods.watches += [Answer(status=429, message="later", headers={"Retry-After": "30"})]
    async with watching(pods) as (watch, _):
        await pods.until(lambda: watch.has_begun)
    assert waits[:8] == sorted(waits[:8])
    assert waits[0] < 0.2 < waits[7] <= 5.0
    assert waits[8] >= 30.0


async def test_a_server_that_ends_each_watch_at_once_causes_no_hot_loop(
    pods: ScriptedPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.watches += [Answer()] * 4
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(min(seconds, 0.005))

    monkeypatch.setattr("trainingjob_operator.kube.object_watch.asyncio.sleep", note)
    async with watching(pods):
        await pods.until(lambda: len(pods.asked) == 5)
    assert sum(0.1 <= each <= 5.0 for each in waits) == 4
