"""A job is followed until it is finished, and every line of every rank is shown once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.builders import make_job
from trainingjob_sandbox.client import ApiClient, ApiError, Changed, Listed
from trainingjob_sandbox.run.job_follower import JobFollower
from trainingjob_sandbox.run.view import JobView

Object = dict[str, Any]
RUNNING: Object = {"running": {}}
ENDED: Object = {"terminated": {"exitCode": 0}}


def make(outcome: str = "") -> Object:
    job = make_job("digits")
    job["metadata"]["uid"] = "uid-1"
    conditions = [{"type": outcome, "status": "True", "reason": "Because"}] if outcome else []
    job["status"] = {"phase": outcome or "Running", "conditions": conditions}
    return job


def pod(state: Object, *, attempt: int = 0) -> Object:
    name = f"digits-{attempt}-0"
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "labels": {
                "trainingjob.dev/job-uid": "uid-1",
                "trainingjob.dev/attempt": str(attempt),
                "trainingjob.dev/index": "0",
            },
        },
        "spec": {"containers": [{"name": "trainer"}]},
        "status": {"containerStatuses": [{"name": "trainer", "state": state}]},
    }


class FakeServer(ApiClient):
    """Watches that give what a test puts in, and logs as scripts of connections.

    A connection is a list of chunks; an exception in it breaks it, an event is waited for.
    """

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[Listed | Changed] = asyncio.Queue()
        self.pods: asyncio.Queue[Listed | Changed] = asyncio.Queue()
        self.latest_pods: list[Object] = []
        self.logs: dict[str, list[list[bytes | Exception | asyncio.Event]]] = {}

    def put_pod(self, pod: Object) -> None:
        self.latest_pods = [pod]
        self.pods.put_nowait(Changed("MODIFIED", pod))

    def finish(self, outcome: str = "Complete") -> None:
        self.jobs.put_nowait(Changed("MODIFIED", make(outcome)))

    async def list(
        self, path: str, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[list[Object], str]:
        assert label_selector == "trainingjob.dev/job-uid=uid-1"
        return self.latest_pods, "1"

    async def watch(
        self, path: str, *, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[Listed | Changed]:
        queue = self.jobs if path.endswith("/trainingjobs") else self.pods
        while True:
            yield await queue.get()

    async def pod_log(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        connections = self.logs[pod]
        for step in connections.pop(0) if len(connections) > 1 else connections[0]:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step


class FakeScreen:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.views: list[JobView] = []
        self.shown = asyncio.Event()

    def say(self, text: str) -> None:
        raise AssertionError("the follower has nothing to say")

    def log(self, rank: int, line: str) -> None:
        self.lines.append(f"[{rank}] {line}")
        self.shown.set()

    def show(self, view: JobView) -> None:
        self.views.append(view)

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def screen() -> FakeScreen:
    return FakeScreen()


async def follow(server: FakeServer, screen: FakeScreen) -> JobView:
    follower = JobFollower(server, screen, job=make())
    async with asyncio.timeout(60):
        return await follower.run()


async def test_the_last_lines_are_shown_before_the_end(
    server: FakeServer, screen: FakeScreen
) -> None:
    last_words = asyncio.Event()
    server.logs["digits-0-0"] = [[b"epoch 1\n", last_words, b"accuracy 0.94\nbye"]]
    server.put_pod(pod(RUNNING))
    following = asyncio.create_task(follow(server, screen))
    await screen.shown.wait()

    server.put_pod(pod(ENDED))
    server.finish()
    await asyncio.sleep(0)
    last_words.set()

    assert (await following).outcome == "Complete"
    assert screen.lines == ["[0] epoch 1", "[0] accuracy 0.94", "[0] bye"]


async def test_a_broken_log_stream_resumes_where_it_broke(
    server: FakeServer, screen: FakeScreen
) -> None:
    server.logs["digits-0-0"] = [
        [b"one\ntw", ApiError(0, "Unavailable", "reset")],
        [b"one\n", b"two\nthr", ApiError(0, "Unavailable", "reset")],
        [ApiError(0, "Unavailable", "503")],
        [b"on", b"e\ntwo\nthree\n"],
    ]
    server.put_pod(pod(ENDED))
    server.finish()

    await follow(server, screen)

    assert screen.lines == ["[0] one", "[0] two", "[0] three"]


async def test_a_log_stream_that_ends_while_the_container_runs_is_opened_again(
    server: FakeServer, screen: FakeScreen
) -> None:
    server.logs["digits-0-0"] = [[b"one\n"], [b"one\ntwo\n"]]
    server.put_pod(pod(RUNNING))
    following = asyncio.create_task(follow(server, screen))
    await screen.shown.wait()

    server.put_pod(pod(ENDED))
    server.finish()
    await following

    assert screen.lines == ["[0] one", "[0] two"]


async def test_a_pod_that_is_first_seen_after_the_jobs_end_is_read_too(
    server: FakeServer, screen: FakeScreen
) -> None:
    server.logs["digits-0-0"] = [[b"quick\n"]]
    server.latest_pods = [pod(ENDED)]
    server.finish()

    await follow(server, screen)

    assert screen.lines == ["[0] quick"]


async def test_a_deleted_log_is_not_awaited(server: FakeServer, screen: FakeScreen) -> None:
    server.logs["digits-0-0"] = [[ApiError(0, "Unavailable", "404")]]
    server.put_pod(pod(ENDED))
    server.finish("Failed")

    assert (await follow(server, screen)).outcome == "Failed"


async def test_every_attempt_is_read(server: FakeServer, screen: FakeScreen) -> None:
    server.logs = {f"digits-{attempt}-0": [[b"hello %d\n" % attempt]] for attempt in range(3)}
    for attempt in range(3):
        server.put_pod(pod(ENDED, attempt=attempt))
    following = asyncio.create_task(follow(server, screen))
    while len(screen.lines) < 3:
        screen.shown.clear()
        await screen.shown.wait()

    server.finish()
    view = await following

    assert sorted(screen.lines) == ["[0] hello 0", "[0] hello 1", "[0] hello 2"]
    assert view.attempt == 2


async def test_the_last_state_of_a_deleted_pod_is_still_shown(
    server: FakeServer, screen: FakeScreen
) -> None:
    server.logs["digits-0-0"] = [[b"bye\n"]]
    stopped: Object = {"terminated": {"exitCode": 143}}
    server.pods.put_nowait(Changed("DELETED", pod(stopped)))
    server.pods.put_nowait(Listed([]))
    server.finish("Cancelled")

    view = await follow(server, screen)

    assert [rank.exit_code for rank in view.ranks] == [143]


@pytest.mark.parametrize("event", [Changed("DELETED", make()), Listed([])])
async def test_a_deleted_job_is_cancelled(
    server: FakeServer, screen: FakeScreen, event: Listed | Changed
) -> None:
    server.jobs.put_nowait(event)

    view = await follow(server, screen)

    assert (view.outcome, view.reason) == ("Cancelled", "Deleted")


async def test_a_failing_watch_is_an_error_and_leaves_no_task(
    server: FakeServer, screen: FakeScreen
) -> None:
    server.jobs.put_nowait(Changed("MODIFIED", {}))

    with pytest.raises(KeyError):
        await follow(server, screen)

    assert asyncio.all_tasks() == {asyncio.current_task()}
