"""A server of one job's pods and their logs, over real HTTP: a test writes the logs and breaks their streams."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web
from aiohttp.test_utils import TestServer

from trainingjob_api import constants
from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.caller import Caller
from trainingjob_console.access.subject_reviews import SubjectReviews
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.summary import summarize
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.credentials import Account
from trainingjob_console.logs.archive_reader import ArchiveReader
from trainingjob_console.logs.job_logs import JobLogs
from trainingjob_console.settings import Settings

_KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: a
contexts: [{{name: a, context: {{cluster: a, user: a}}}}]
clusters: [{{name: a, cluster: {{server: "{url}"}}}}]
users: [{{name: a, user: {{token: console}}}}]
"""
_BEGAN = 1_767_225_600


@dataclass
class FakeLog:
    """The log of one pod.

    Attributes:
        rank: of the pod.
        attempt: of the pod.
        lines: each with its timestamp, in nanoseconds since 1970.
        first: number of the first line in the node's current file.
        begun: the container has started.
        ended: the container has terminated.
        gone: the pod was deleted.
        gone_when_read: the pod is deleted when the log is first requested.
        unknown: the pod exists, but not its log: its node is gone.
    """

    rank: int
    attempt: int = 0
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    first: int = 0
    begun: bool = True
    ended: bool = False
    gone: bool = False
    gone_when_read: bool = False
    unknown: bool = False


class LogServer:
    """The server, and the console's `JobLogs` that reads from it.

    Attributes:
        account: the console's account at the server.
        kube: client of the server.
        index: of the console, with the job.
        access: the console's real access control.
        job_logs: the console's logs.
        uid: of the job, whose pods are `pod-0` and so on.
        logs: of its pods, by number; in the first attempt, the number is the rank.
        refused: tokens that may not read logs (403).
        unknown: invalid tokens (401).
        silent: logs can be opened, but send nothing.
        asked: requests for logs, by token, except those for the beginning only.
        answers: set while reviews of tokens are answered.
        failing: reviews of rights fail (500).
        listing: pods can be listed; else that fails (500).
        lists: number of lists of pods.
        opened: number of logs that were opened with `follow`, by token.
        following: number of logs that are followed now, by token.
    """

    account: Account
    kube: Kube
    access: AccessControl
    job_logs: JobLogs

    def __init__(self, ranks: int) -> None:
        self.uid = str(uuid4())
        self.index = JobIndex(max_jobs=10, epoch="e")
        self._ranks = ranks
        self.logs = [FakeLog(rank) for rank in range(ranks)]
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.answers = asyncio.Event()
        self.answers.set()
        self.failing = False
        self.listing = True
        self.lists = 0
        self.opened: Counter[str] = Counter()
        self.following: Counter[str] = Counter()
        self.silent = False
        self.broken = 0
        self.app = web.Application()
        pods = "/api/v1/namespaces/ml/pods"
        self.app.router.add_post("/apis/authorization.k8s.io/v1/{kind}", self.review)
        self.app.router.add_post("/apis/authentication.k8s.io/v1/{kind}", self.owner)
        self.app.router.add_get(pods, self.pods)
        self.app.router.add_get(pods + "/pod-{number}", self.one_pod)
        self.app.router.add_get(pods + "/pod-{number}/log", self.log)
        self._changed = asyncio.Condition()

    async def write(self, text: str, number: int = 0) -> None:
        """Write whole lines."""
        log = self.logs[number]
        for line in text.encode().splitlines(keepends=True):
            log.lines.append(((_BEGAN + len(log.lines)) * 10**9, line))
        await self._tell()

    def job_is(self, attempt: int = 0, *, is_over: bool = False, ready: int = 0) -> None:
        """Set the status of the job in the console's index."""
        ended = {"completionTime": "2026-01-01T01:00:00Z"} if is_over else {}
        created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
        job = summarize(
            {
                "metadata": {"uid": self.uid, "name": "job", "namespace": "ml", **created},
                "spec": {"numNodes": self._ranks},
                "status": {"attempt": attempt, "ready": ready, **ended},
            }
        )
        assert job is not None
        self.index.put(job)

    def rotate(self, number: int = 0) -> None:
        """Rotate the log, as a node does with a long log; open streams continue with the new file."""
        log = self.logs[number]
        log.first = len(log.lines)

    def file(self, number: int = 0) -> str:
        """Return the name of the node's current file: the timestamp of its first line."""
        log = self.logs[number]
        return _shown(log.lines[log.first][0])

    async def end(self) -> None:
        """Terminate all containers."""
        for log in self.logs:
            log.ended = True
        await self._tell()

    async def break_streams(self) -> None:
        """Break all streams that follow a log."""
        self.broken += 1
        await self._tell()

    async def open_streams(self, tokens: set[str]) -> None:
        """Wait until logs are followed with exactly these tokens."""
        async with asyncio.timeout(20):
            while set(+self.following) != tokens:
                await asyncio.sleep(0.005)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- as the API server answers ------------------------------------------------------------------

    def token(self, request: web.Request) -> str:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.unknown:
            raise web.HTTPUnauthorized(text='{"message": "Unauthorized"}')
        return token

    async def owner(self, request: web.Request) -> web.Response:
        """Answer a SelfSubjectReview: the user's name is the token up to a dot."""
        await self.answers.wait()
        return web.json_response(
            {"status": {"userInfo": {"username": self.token(request).partition(".")[0]}}}
        )

    async def review(self, request: web.Request) -> web.Response:
        """Answer a SelfSubjectAccessReview: all is allowed, except logs for `refused` tokens."""
        token = self.token(request)
        if self.failing:
            raise web.HTTPInternalServerError(text='{"message": "try again"}')
        asked = (await request.json())["spec"]["resourceAttributes"]
        allowed = asked["resource"] != "pods" or token not in self.refused
        return web.json_response({"status": {"allowed": allowed}})

    async def pods(self, request: web.Request) -> web.Response:
        self.token(request)
        self.lists += 1
        if not self.listing:
            raise web.HTTPInternalServerError(text='{"message": "try again"}')
        items = [self.pod(number) for number, log in enumerate(self.logs) if not log.gone]
        return web.json_response({"items": items})

    async def one_pod(self, request: web.Request) -> web.Response:
        self.token(request)
        number = int(request.match_info["number"])
        if self.logs[number].gone:
            raise web.HTTPNotFound(text='{"message": "not found"}')
        return web.json_response(self.pod(number))

    def pod(self, number: int) -> dict[str, Any]:
        log = self.logs[number]
        labels = {constants.LABEL_INDEX: log.rank, constants.LABEL_ATTEMPT: log.attempt}
        state = "terminated" if log.ended else "running" if log.begun else "waiting"
        return {
            "metadata": {
                "name": f"pod-{number}",
                "namespace": "ml",
                "uid": f"pod-{number}",
                "labels": {name: str(value) for name, value in labels.items()},
            },
            "spec": {"containers": [{"name": "main"}]},
            "status": {"containerStatuses": [{"name": "main", "state": {state: {}}}]},
        }

    async def log(self, request: web.Request) -> web.StreamResponse:
        token, follows = self.token(request), "follow" in request.query
        if token in self.refused:
            raise web.HTTPForbidden(text='{"message": "you may not read it"}')
        self.following[token] += follows
        try:
            return await self._send_log(request, token)
        finally:
            self.following[token] -= follows

    async def _send_log(self, request: web.Request, token: str) -> web.StreamResponse:
        query, log = request.query, self.logs[int(request.match_info["number"])]
        log.gone = log.gone or log.gone_when_read
        if log.gone or log.unknown:
            raise web.HTTPNotFound(text='{"message": "not found"}')
        if most := int(query.get("limitBytes", 0)):  # reads only the timestamp of the first line
            lines = (
                f"{_shown(moment)} ".encode() + line for moment, line in log.lines[log.first :]
            )
            return web.Response(body=b"".join(lines)[:most])
        self.asked[token] += 1
        self.opened[token] += "follow" in query
        since = query.get("sinceTime", "1970-01-01T00:00:00Z")
        response = web.StreamResponse()
        await response.prepare(request)
        at, broken = log.first, self.broken
        while True:
            for moment, line in log.lines[at:] if not self.silent else ():
                shown = _shown(moment)
                head = f"{shown} ".encode() if query.get("timestamps") else b""
                if f"{shown.partition('.')[0]}Z" >= since:
                    await response.write(head + line)
                at += 1
            if not (query.get("follow") or self.silent) or (log.ended and at == len(log.lines)):
                return response
            async with self._changed:
                is_through = at == len(log.lines) and not log.ended
                if (is_through or self.silent) and broken == self.broken:
                    await self._changed.wait()
            if broken != self.broken:
                assert request.transport is not None
                request.transport.abort()
                return response


def _shown(moment: int) -> str:
    """Format a time in nanoseconds as kubelets do."""
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9))
    return f"{clock}.{moment % 10**9:09}Z"


def user(name: str) -> Caller:
    """Return a user with its own token."""
    return Caller(name=name, token=name, key=name)


def kubeconfig_of(url: str) -> str:
    """Return the kubeconfig of a console with a token at this server."""
    return _KUBECONFIG.format(url=url.rstrip("/"))


@asynccontextmanager
async def log_server(
    folder: Path,
    *,
    ranks: int = 1,
    remember: bool = True,
    volume: Path | None = None,
    **job_logs: Any,
) -> AsyncIterator[LogServer]:
    """Serve while the context is open.

    Args:
        folder: for the kubeconfig.
        ranks: of the job.
        remember: cache authentication and authorization, as the console does.
        volume: the root of the log volume; None: no volume.
        job_logs: arguments of `JobLogs`.
    """
    played = LogServer(ranks)
    server, index = TestServer(played.app), played.index
    played.job_is()
    index.keep_only([played.uid])

    async def no_past(_: str, __: str) -> str:
        return ""

    await server.start_server()
    config = folder / "kubeconfig"
    config.write_text(kubeconfig_of(str(server.make_url(""))))
    played.account = Account(config)
    played.kube = Kube(played.account)
    played.access = AccessControl(
        Settings(),
        SubjectReviews(played.kube, **({} if remember else {"fresh_s": 0.0, "refused_s": 0.0})),
        index.namespaces,
    )
    played.job_logs = JobLogs(
        played.kube, played.access, index, ArchiveReader(volume), no_past, **job_logs
    )
    try:
        yield played
    finally:
        await played.job_logs.followers.close()
        await played.kube.close()
        await played.break_streams()
        await server.close()
