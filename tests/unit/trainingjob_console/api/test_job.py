"""One job, which is read from the API server within a deadline."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.console.stalled_process import StalledLoop, unread_response
from tests.support.console.summaries import make_raw
from trainingjob_console.access.caller import Caller
from trainingjob_console.api.job import JobApi
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.summary import summarize
from trainingjob_console.kube.response_reader import ResponseReader
from trainingjob_console.metrics import Metrics

ANNA = Caller(name="anna", token="of-anna")


class Access:
    """The rights of a user who may do everything."""

    async def authenticate(self, _: object) -> Caller:
        return ANNA

    async def visible(self, *_: object) -> Any:
        return lambda _: True

    async def is_allowed(self, *_: object, **__: object) -> bool:
        return True


async def test_a_job_that_arrived_while_the_process_was_stalled_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standstill, was_asked, was_read = StalledLoop(monkeypatch), asyncio.Event(), asyncio.Event()
    raw = make_raw(1)
    job = summarize(raw)
    assert job is not None

    async def read(_: str, make: Any, **__: Any) -> Any:
        was_asked.set()
        await was_read.wait()
        return make(raw | {"items": []}), 1

    index = JobIndex(max_jobs=10, epoch="e")
    index.put(job)
    components: Any = SimpleNamespace(
        access=Access(),
        index=index,
        kube=SimpleNamespace(response_reader=ResponseReader(), read=read),
        metrics=Metrics(),
        settings=SimpleNamespace(log_max_age=60.0),
    )
    request: Any = SimpleNamespace(path_params={"uid": job.uid})
    with unread_response(was_read) as answer:
        asking = asyncio.create_task(JobApi(components).get(request))
        await was_asked.wait()
        answer.arrive()
        standstill.lasts(600)
        found = json.loads(bytes((await asking).body))
    assert found["row"]["name"] == "job-1"
