"""Watches one job and its pods until the job is finished, and shows their logs, each line once."""

import asyncio
from dataclasses import replace
from typing import Final

from trainingjob_api.constants import API_VERSION, LABEL_JOB_UID, PLURAL_TRAINING_JOBS
from trainingjob_sandbox.client import ApiClient, ApiError, Changed, Listed
from trainingjob_sandbox.run.log_lines import LogLineSplitter
from trainingjob_sandbox.run.screen import Screen
from trainingjob_sandbox.run.view import (
    JobView,
    Object,
    attempt_of,
    main_container,
    main_state,
    rank_of,
    view_job,
)

_AGAIN_S: Final = 0.1
_TICK_S: Final = 0.5
_DRAIN_S: Final = 40.0
"""Seconds to wait for the rest of the logs once the job is finished: the usual maximum grace period and a
margin. Ranks that are being stopped may still write."""

_TRIES_AFTER_END: Final = 5


class JobFollower:
    """Follows one job. All methods must run on the same event loop."""

    def __init__(self, client: ApiClient, screen: Screen, *, job: Object) -> None:
        """Create the follower; nothing is read before `run`.

        Args:
            client: client of the API server.
            screen: the screen that shows the job.
            job: the job as it was created; its `metadata` identifies it.
        """
        metadata = job["metadata"]
        self._client = client
        self._screen = screen
        self._job = job
        self._namespace = metadata["namespace"]
        self._pods_path = f"/api/v1/namespaces/{self._namespace}/pods"
        self._pods_selector = f"{LABEL_JOB_UID}={metadata['uid']}"
        self._pods: dict[str, Object] = {}
        self._deleted_pods: set[str] = set()
        """UIDs of deleted pods; their last observed state is still shown."""
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deleted = False

    async def run(self) -> JobView:
        """Follow the job until it is finished and its logs have been shown; return its last view."""
        tasks = [
            asyncio.create_task(self._watch_job(), name="watch the job"),
            asyncio.create_task(self._watch_pods(), name="watch the pods"),
            asyncio.create_task(self._tick(), name="tick"),
        ]
        for task in tasks:
            task.add_done_callback(self._fail)
        try:
            await self._finished
            await self._drain()
        finally:
            tasks += self._readers.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        view = self.view()
        self._screen.show(view)
        return view

    async def _watch_job(self) -> None:
        metadata = self._job["metadata"]
        path = f"/apis/{API_VERSION}/namespaces/{self._namespace}/{PLURAL_TRAINING_JOBS}"
        selector = f"metadata.name={metadata['name']}"
        async for event in self._client.watch(path, field_selector=selector):
            jobs = event.items if isinstance(event, Listed) else [event.object]
            for job in jobs:
                if job["metadata"]["uid"] == metadata["uid"]:
                    self._job = job
            is_there = any(job["metadata"]["uid"] == metadata["uid"] for job in jobs)
            deleted = isinstance(event, Changed) and event.type == "DELETED"
            self._deleted = self._deleted or deleted or not is_there
            self._show()

    async def _watch_pods(self) -> None:
        async for event in self._client.watch(self._pods_path, label_selector=self._pods_selector):
            if isinstance(event, Listed):
                self._observe_list(event.items)
            else:
                self._observe(event.object)
                if event.type == "DELETED":
                    self._deleted_pods.add(event.object["metadata"]["uid"])
            self._show()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._screen.tick()

    def _observe_list(self, pods: list[Object]) -> None:
        self._deleted_pods |= self._pods.keys() - {pod["metadata"]["uid"] for pod in pods}
        for pod in pods:
            self._observe(pod)

    def _observe(self, pod: Object) -> None:
        """Store a pod's state; start to read its log once its main container has started."""
        uid = pod["metadata"]["uid"]
        self._pods[uid] = pod
        state, _ = main_state(pod)
        if state != "waiting" and uid not in self._readers:
            reader = asyncio.create_task(
                self._read_log(pod), name=f"log of {pod['metadata']['name']}"
            )
            reader.add_done_callback(self._fail)
            self._readers[uid] = reader
        # Keep only the latest two attempts: a job may be restarted a hundred times.
        latest = max(map(attempt_of, self._pods.values()))
        for old in [u for u, p in self._pods.items() if attempt_of(p) < latest - 1]:
            del self._pods[old]
            self._deleted_pods.discard(old)

    @property
    def finished(self) -> bool:
        """True if the job's outcome is known; its ranks may still write to their logs."""
        return bool(self.view().outcome)

    def view(self) -> JobView:
        """Return the last observed state of the job."""
        view = view_job(self._job, self._pods.values())
        if self._deleted and not view.outcome:
            return replace(view, phase="Cancelled", outcome="Cancelled", reason="Deleted")
        return view

    def _show(self) -> None:
        view = self.view()
        self._screen.show(view)
        if view.outcome and not self._finished.done():
            self._finished.set_result(None)

    def _fail(self, task: "asyncio.Task[None]") -> None:
        """Make `run` raise the exception of a task that failed."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._finished.done():
            self._finished.set_exception(error)

    async def _drain(self) -> None:
        """Wait for the rest of every rank's log."""
        # The two watches are independent: the job may be seen finished before its last pod is seen.
        pods, _ = await self._client.list(self._pods_path, label_selector=self._pods_selector)
        self._observe_list(pods)
        if self._readers:
            done, _ = await asyncio.wait(self._readers.values(), timeout=_DRAIN_S)
            for reader in done:
                reader.result()

    async def _read_log(self, pod: Object) -> None:
        """Show a pod's log; after a broken stream read it again and skip what was shown."""
        metadata, container, lines = pod["metadata"], main_container(pod), LogLineSplitter()
        rank, seen, failures = rank_of(pod), 0, 0
        while failures < _TRIES_AFTER_END:
            ended = self._has_ended(metadata["uid"])
            skip = seen
            try:
                stream = self._client.pod_log(self._namespace, metadata["name"], container)
                async for chunk in stream:
                    fresh, skip = chunk[skip:], max(0, skip - len(chunk))
                    seen += len(fresh)
                    for line in lines.feed(fresh):
                        self._screen.log(rank, line)
            except ApiError:
                failures += ended
            else:
                if ended or self._has_ended(metadata["uid"]):
                    break
            await asyncio.sleep(_AGAIN_S)
        for line in lines.flush():
            self._screen.log(rank, line)

    def _has_ended(self, uid: str) -> bool:
        pod = self._pods.get(uid)
        return pod is None or uid in self._deleted_pods or main_state(pod)[0] == "terminated"
