"""The event recorder: bounded, deduplicated, never blocking; dropped events are counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_api.constants import MAX_MESSAGE_BYTES
from trainingjob_api.errors import (
    ForbiddenError,
    KubernetesError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.observe_policy import PolicyView
from trainingjob_operator.kube.events import (
    MEMORY_SIZE,
    QUEUE_SIZE,
    REPEAT_AFTER_S,
    EventRecorder,
    Subject,
    event_manifest,
)

NOW = datetime(2026, 1, 1, 12, 30, 15, 999999, tzinfo=UTC)
Object = dict[str, Any]


def job(name: str = "mnist", uid: str = "u1") -> JobView:
    return JobView(
        key=JobKey("ml", name), uid=uid, resource_version="7", generation=1, created_at=NOW
    )


def about(name: str = "mnist") -> Subject:
    return Subject("TrainingJob", "ml", name, "u1", "7")


def said(
    message: str = "it happened", reason: str = "Happened", *, warning: bool = False
) -> Event:
    return Event(reason=reason, message=message, warning=warning)


class Writer(FakeCluster):
    """Accepts events as the gateway does, or raises the error that a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Object] = []
        self.asked_at: list[float] = []
        self.errors: list[Exception] = []
        self.takes_s = 0.0

    async def create_event(self, manifest: Object) -> Object:
        self.asked_at.append(LoopClock().monotonic())
        await asyncio.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(manifest)
        return manifest

    @property
    def messages(self) -> list[str]:
        return [manifest["message"] for manifest in self.sent]


@asynccontextmanager
async def sending(recorder: EventRecorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(recorder.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --- what is sent -----------------------------------------------------------------------------


@in_simulated_time
async def test_events_are_sent_in_the_order_in_which_they_were_recorded() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    async with sending(recorder):
        for word in ("one", "two", "three"):
            recorder.record(job(), said(word))
        await asyncio.sleep(1)
    assert writer.messages == ["one", "two", "three"]


def test_an_event_names_the_job_by_uid_and_has_a_time() -> None:
    manifest = event_manifest(about(), said(warning=True), NOW)
    involved = manifest["involvedObject"]
    assert (involved["kind"], involved["name"], involved["uid"]) == ("TrainingJob", "mnist", "u1")
    assert involved["namespace"] == manifest["metadata"]["namespace"] == "ml"
    assert (manifest["type"], manifest["reason"]) == ("Warning", "Happened")
    assert manifest["firstTimestamp"] == manifest["lastTimestamp"] == "2026-01-01T12:30:15Z"
    assert event_manifest(about(), said(), NOW)["type"] == "Normal"


def test_event_names_are_unique_and_never_too_long() -> None:
    names = {event_manifest(about("x" * 300), said(), NOW)["metadata"]["name"] for _ in range(100)}
    assert len(names) == 100
    assert max(map(len, names)) <= 253


def test_a_message_is_cut_to_the_limit_of_the_api() -> None:
    message = event_manifest(about(), said("\N{SNOWMAN}" * 5000), NOW)["message"]
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    assert message.endswith("...")


# --- said once --------------------------------------------------------------------------------


@in_simulated_time
async def test_a_repeated_event_is_not_sent_again_within_ten_minutes() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    async with sending(recorder):
        for _ in range(3 * int(REPEAT_AFTER_S)):
            recorder.record(job(), said())
            await asyncio.sleep(1)
    assert len(writer.sent) == 3


@in_simulated_time
async def test_another_message_reason_or_job_is_not_a_repeat() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    async with sending(recorder):
        recorder.record(job(), said())
        recorder.record(job(), said("something else"))
        recorder.record(job(), said(reason="Other"))
        recorder.record(job(uid="namesake"), said())
        await asyncio.sleep(1)
    assert len(writer.sent) == 4


@in_simulated_time
async def test_an_event_about_a_policy_is_sent_each_time() -> None:
    """The caller prevents repeats."""
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    policy = PolicyView(namespace="ops", uid="p1", resource_version="3")
    async with sending(recorder):
        for _ in range(2):
            recorder.record_of_policy(policy, said(warning=True))
        recorder.record(job(), said())
        await asyncio.sleep(1)
    assert len(writer.sent) == recorder.recorded_total == 3
    assert writer.sent[0]["metadata"]["namespace"] == "ops"
    assert writer.sent[0]["involvedObject"] == {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "namespace": "ops",
        "name": "default",
        "uid": "p1",
        "resourceVersion": "3",
    }
    assert writer.sent[2]["involvedObject"]["kind"] == "TrainingJob"


@in_simulated_time
async def test_the_cache_of_repeats_is_bounded_and_evicts_the_oldest() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    async with sending(recorder):
        for number in range(MEMORY_SIZE + 1):
            recorder.record(job(), said(str(number)))
            await asyncio.sleep(0.01)
        recorder.record(job(), said(str(MEMORY_SIZE)))
        recorder.record(job(), said("0"))
        await asyncio.sleep(1)
    assert len(recorder._recorded_at) == MEMORY_SIZE
    assert writer.messages.count("0") == 2
    assert writer.messages.count(str(MEMORY_SIZE)) == 1


# --- never in the way -------------------------------------------------------------------------


@in_simulated_time
async def test_events_beyond_the_queue_limit_are_dropped_and_counted() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    for number in range(QUEUE_SIZE + 5):
        recorder.record(job(), said(str(number)))
    assert recorder.dropped_total == 5
    async with sending(recorder):
        await asyncio.sleep(1)
    assert writer.messages == [str(number) for number in range(QUEUE_SIZE)]


@in_simulated_time
async def test_a_dropped_event_does_not_count_as_sent() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, LoopClock())
    for number in range(QUEUE_SIZE + 1):
        recorder.record(job(), said(str(number)))
    async with sending(recorder):
        await asyncio.sleep(1)
        recorder.record(job(), said(str(QUEUE_SIZE)))
        await asyncio.sleep(1)
    assert writer.messages[-1] == str(QUEUE_SIZE)


@pytest.mark.parametrize(
    "error",
    [
        ForbiddenError("no rights", status=403),
        UnavailableError("no answer"),
        ZeroDivisionError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_event_that_cannot_be_sent_is_dropped_and_counted_and_the_next_one_is_sent(
    error: KubernetesError,
) -> None:
    @in_simulated_time
    async def play() -> None:
        writer = Writer()
        writer.errors = [error]
        recorder = EventRecorder(writer, LoopClock())
        async with sending(recorder) as task:
            recorder.record(job(), said("lost"))
            recorder.record(job(), said("sent"))
            await asyncio.sleep(1)
            assert not task.done()
        assert (writer.messages, recorder.dropped_total) == (["sent"], 1)

    play()


@in_simulated_time
async def test_after_a_429_the_next_event_waits_for_retry_after() -> None:
    writer = Writer()
    writer.errors = [ThrottledError("slow down", retry_after_s=17)]
    recorder = EventRecorder(writer, LoopClock())
    async with sending(recorder):
        recorder.record(job(), said("one"))
        recorder.record(job(), said("two"))
        await asyncio.sleep(60)
    assert writer.asked_at == pytest.approx([0, 17], abs=0.1)


@in_simulated_time
async def test_flush_sends_the_rest_within_its_time_limit() -> None:
    writer = Writer()
    writer.takes_s = 0.2
    recorder = EventRecorder(writer, LoopClock())
    for number in range(5):
        recorder.record(job(), said(str(number)))
    await recorder.flush(0.5)
    assert writer.messages == ["0", "1"]
    assert LoopClock().monotonic() == pytest.approx(0.5)


@in_simulated_time
async def test_a_flush_with_nothing_left_takes_no_time() -> None:
    await EventRecorder(Writer(), LoopClock()).flush(10)
    assert LoopClock().monotonic() == 0
